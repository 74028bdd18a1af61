// The table of nodes.

import { Table, at, figure, make, say, state } from "./build.js";
import { ORIGINS, sum } from "./origins.js";
import { count, number, share, size, span } from "./units.js";

const HOW = { healthy: "good", starting: "none", leaving: "none", degraded: "warn", unhealthy: "bad" };

/** The nodes. */
export function members() {
  const part = (origin) => (member) => share(member.answers[origin], sum(member.answers));
  return new Table(
    at("members"),
    [
      { head: "Node", show: name },
      { head: "Status", show: (cell, member) => state(cell, member.status, HOW[member.status] ?? "none") },
      figure("Heartbeat", (member) => (member.own ? "now" : `${span(Math.round(member.age))} ago`), "narrow"),
      figure("Queries/s", (member) => number(member.queries)),
      { head: "Answered by", kind: "from", show: bar },
      figure("Memory", part("memory"), "wide"),
      figure("Redis", part("redis"), "wide"),
      figure("Upstream", part("upstream"), "wide"),
      figure("Stale", part("stale"), "wide"),
      figure("Held", (member) => number(member.held), "wide"),
      figure("Size", (member) => size(member.bytes), "wide"),
      figure("Up", (member) => span(member.uptime), "narrow"),
    ],
    (member) => member.id,
  );
}

function name(cell, member) {
  if (!cell.firstChild) cell.append(make("span", "name"), " ", make("span", "own", "this node"), make("span", "sub"));
  const [called, own, where] = cell.children;
  say(called, member.id);
  own.hidden = !member.own;
  say(where, [member.hostname === member.id ? "" : member.hostname, member.pod_ip].filter(Boolean).join(" · "));
}

function bar(cell, member) {
  if (!cell.firstChild) {
    cell.append(make("span", "bar", ...ORIGINS.map(([origin]) => make("i", origin))));
    cell.firstChild.setAttribute("role", "img");
  }
  const total = sum(member.answers);
  const parts = ORIGINS.filter(([origin]) => member.answers[origin]);
  ORIGINS.forEach(([origin], index) => {
    const slice = cell.firstChild.children[index];
    slice.style.flex = `${member.answers[origin] || 0} 0 0`;
    slice.hidden = !member.answers[origin];
  });
  const said = parts.map(([origin, called]) => `${called} ${share(member.answers[origin], total)}`).join(", ");
  cell.firstChild.setAttribute("aria-label", said || "no answers in the last minute");
  cell.title = said;
}

/** What is said beside the title of the nodes. */
export function about(told) {
  if (told.shared) return `${count(told.members.length, "node")}; each tells how it is every ${span(told.heartbeat)}`;
  return told.redis ? `only this one is known: ${told.reason}` : "Redis is not in use: this node is alone";
}
