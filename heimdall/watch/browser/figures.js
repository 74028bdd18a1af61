// The line of figures on top: the cluster at a glance.

import { at, mark, say } from "./build.js";
import { bound, within } from "./latency.js";
import { answers, sum } from "./origins.js";
import { number, share, span } from "./units.js";

/** Show all of them. */
export function figures(told) {
  queries(told.members);
  latency(told.latency);
  nodes(told.members);
  redis(told);
  upstreams(told.upstreams);
}

function queries(members) {
  const all = answers(members);
  const total = sum(all);
  const rates = members.map((member) => member.queries).filter((rate) => rate !== null);
  const rate = rates.reduce((so_far, each) => so_far + each, 0);
  big("queries", rates.length ? number(rate) : "–", `${number(total)} in the last minute`);
  const held = sum(all, "memory", "redis", "stale");
  const asked = held + all.upstream;
  big("cached", share(held, asked), asked ? `${share(all.memory, asked)} from memory` : "nothing to cache so far");
}

function latency(times) {
  const [half, slowest] = [within(times, 0.5), within(times, 0.99)];
  if (half === null) big("within", "–", "");
  else big("within", bound(times, slowest), `half within ${bound(times, half)}`);
}

function nodes(members) {
  const ill = members.filter((member) => member.status !== "healthy");
  const words = [...new Set(ill.map((member) => member.status))];
  const said = words.map((word) => `${ill.filter((member) => member.status === word).length} ${word}`).join(", ");
  big("nodes", number(members.length), said || "all healthy", said ? "warn" : "");
}

function redis(told) {
  if (!told.redis) big("redis", "none", "nothing is shared");
  else if (!told.redis.up) big("redis", "away", told.reason, "bad");
  else if (!told.redis.hearing) big("redis", "up", "messages do not arrive", "warn");
  else big("redis", "up", told.redis.rtt === null ? "" : `answers in ${span(told.redis.rtt)}`);
}

function upstreams(servers) {
  const up = servers.filter((server) => server.up);
  const down = servers.length - up.length;
  const times = up.map((server) => server.rtt).filter((rtt) => rtt !== null);
  if (!servers.length) big("upstreams", "none", "");
  else if (down) big("upstreams", `${up.length} of ${servers.length}`, `${down} down`, up.length ? "warn" : "bad");
  else big("upstreams", `${up.length} of ${up.length}`, times.length ? `best in ${span(Math.min(...times))}` : "");
}

function big(id, value, sub, kind = "") {
  say(at(id), value);
  mark(at(id), kind);
  say(at(`${id}-sub`), sub);
}
