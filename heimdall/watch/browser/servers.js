// The table of upstreams and Redis.

import { Table, at, figure, make, mark, say, state } from "./build.js";
import { number, span } from "./units.js";

/** Upstreams and Redis. */
export function servers() {
  return new Table(
    at("servers"),
    [
      {
        head: "Server",
        show: (cell, server) => {
          if (!cell.firstChild) cell.append(make("span", "name"), make("span", "sub"));
          say(cell.children[0], server.at);
          say(cell.children[1], server.about);
        },
      },
      { head: "State", show: (cell, server) => state(cell, server.state, server.how) },
      { head: "Round trip", kind: "from number", show: trip },
      figure("In flight", (server) => number(server.inflight), "narrow"),
      figure("Missed", (server) => number(server.misses), "narrow"),
    ],
    (server) => `${server.about}\n${server.at}`,
  );
}

function trip(cell, server) {
  if (!cell.firstChild) cell.append(make("div", "trip", make("span", "bar thin", make("i"), make("i")), make("span")));
  const [bar, time] = cell.firstChild.children;
  const [long, rest] = bar.children;
  mark(long, server.kind);
  long.style.flex = `${server.part} 0 0`;
  rest.style.flex = `${1 - server.part} 0 0`;
  say(time, span(server.rtt));
}

/** The rows of that table. */
export function served(told) {
  const upstreams = told.upstreams.map((server) => ({
    ...server,
    at: server.server,
    kind: "upstream",
    about: server.names ? `upstream of ${server.names}` : "upstream",
    state: server.up ? "up" : "down",
    how: server.up ? "good" : "bad",
  }));
  const { redis } = told;
  const longest = Math.max(...upstreams.map((server) => server.rtt ?? 0), redis?.rtt ?? 0) || 1;
  const all = redis ? [...upstreams, shared(redis)] : upstreams;
  return all.map((server) => ({ ...server, part: (server.rtt ?? 0) / longest }));
}

function shared(redis) {
  const row = { at: redis.at, kind: "redis", about: "Redis, shared by the nodes", rtt: redis.rtt };
  if (!redis.up) return { ...row, state: "away", how: "bad" };
  return redis.hearing
    ? { ...row, state: "up", how: "good" }
    : { ...row, state: "up, messages do not arrive", how: "warn" };
}
