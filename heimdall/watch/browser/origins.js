// Who may have known an answer, in the order in which a query meets them, and what they are called.

export const ORIGINS = [
  ["memory", "memory"],
  ["redis", "Redis"],
  ["upstream", "upstream"],
  ["stale", "stale"],
  ["local", "local"],
  ["blocked", "blocked"],
];

/** Add up numbers by origin. */
export function sum(numbers, ...names) {
  const chosen = names.length ? names : ORIGINS.map(([name]) => name);
  return chosen.reduce((total, name) => total + (numbers[name] || 0), 0);
}

/** Add up the answers of all members by origin. */
export function answers(members) {
  return Object.fromEntries(
    ORIGINS.map(([name]) => [name, members.reduce((total, member) => total + (member.answers[name] || 0), 0)]),
  );
}
