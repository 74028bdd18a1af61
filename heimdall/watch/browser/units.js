// Numbers as people read them.

const NOTHING = "–";

/** A number with three digits that count: 0.4, 12.5, 1,240, 1.2 M. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value >= 999_950) {
    const [divisor, unit] = value >= 999_950_000 ? [1e9, "G"] : [1e6, "M"];
    return `${trimmed(value / divisor)} ${unit}`;
  }
  if (value < 9.95 && !Number.isInteger(value)) return value < 0.05 ? "0" : value.toFixed(1);
  return Math.round(value).toLocaleString("en");
}

/** Bytes: 512 B, 1.5 kB, 12 MB. */
export function size(bytes) {
  if (bytes === null || bytes === undefined || !Number.isFinite(bytes)) return NOTHING;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes,
    at = 0;
  while (value >= 999.5 && at < units.length - 1) [value, at] = [value / 1000, at + 1];
  return `${at ? trimmed(value) : value} ${units[at]}`;
}

/** A span of time: 85 µs, 0.4 ms, 12 s, 3 min, 4 h, 12 d. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NOTHING;
  if (seconds < 0) return `-${span(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.9995) return `${trimmed(seconds * 1000)} ms`;
  for (const [limit, divisor, unit] of [
    [90, 1, "s"],
    [5400, 60, "min"],
    [129_600, 3600, "h"],
  ]) {
    if (seconds < limit) return `${trimmed(seconds / divisor)} ${unit}`;
  }
  return `${Math.round(seconds / 86_400)} d`;
}

/** The share that a part has: 98.2 %, 100 %, nothing of nothing. */
export function share(part, whole) {
  if (!whole) return NOTHING;
  const percent = (100 * (part || 0)) / whole;
  if (percent === 0 || percent === 100) return `${percent} %`;
  if (percent < 0.1) return "<0.1 %";
  return `${Math.min(percent, 99.9).toFixed(1)} %`;
}

/** So many of a thing: 1 node, 3 nodes. */
export function count(number_of, thing) {
  return `${number(number_of)} ${thing}${number_of === 1 ? "" : "s"}`;
}

function trimmed(value) {
  if (value < 0.995) return String(Number(value.toPrecision(2)));
  return value.toFixed(value < 9.95 ? 1 : 0).replace(/\.0$/, "");
}
