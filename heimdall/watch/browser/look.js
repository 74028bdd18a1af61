// Look a name up in every tier of every node.

import { keep } from "./access.js";
import { Table, at, figure, make, say, state, text } from "./build.js";
import { ask } from "./poll.js";
import { count, number, size, span } from "./units.js";

const NO_REDIS = "Redis is not in use";
const HOW = { fresh: "good", stale: "warn", asked: "none", flushed: "warn", rubbish: "bad" };

export class Look {
  /** `opened` is called when the node has taken a token. */
  constructor(opened) {
    this.opened = opened;
    this.turn = 0;
    this.table = new Table(
      at("held"),
      [
        text("Where", (row) => row.where, "wrap"),
        text("Type", (row) => row.type),
        { head: "State", show: (cell, row) => state(cell, row.state, HOW[row.kind] ?? "none") },
        figure("TTL", (row) => (row.ttl === undefined ? "" : span(row.ttl))),
        figure("Age", (row) => (row.age === undefined ? "" : span(row.age)), "narrow"),
        text("From", (row) => row.from, "wide quiet"),
        figure("Uses", (row) => (row.uses === undefined ? "" : number(row.uses)), "wide"),
        figure("Size", (row) => (row.size === undefined ? "" : size(row.size)), "wide"),
        text("Answer", (row) => row.answer, "answer wrap"),
      ],
      (row) => row.key,
    );
    at("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.look();
    });
  }

  /** Look up this name, as if somebody had written it into the form. */
  pick(name, type) {
    at("name").value = name;
    at("type").value = type;
    at("look").scrollIntoView({ block: "nearest" });
    at("name").focus();
    this.look();
  }

  async look(before = "") {
    const [name, type] = [at("name").value.trim(), at("type").value.trim()];
    const turn = ++this.turn;
    if (!name) {
      this.show([], [], "Which name?");
      at("name").focus();
      return;
    }
    const token = at("access").value.trim();
    if (token) keep(token);
    try {
      const told = await ask(`/api/v1/cache?${new URLSearchParams(type ? { name, type } : { name })}`);
      if (token) this.close();
      if (turn === this.turn) this.show(rows(told), records(told), [before, summary(told)].filter(Boolean).join(" "));
    } catch (error) {
      const why = error.status === 403 ? `The node refuses: ${error.message}.` : error.message;
      if (turn === this.turn) this.show([], [], error.status ? why : `The node cannot be asked: ${why}.`);
      if (error.status === 403) this.open();
    }
  }

  /** Ask for the token. */
  open() {
    keep("");
    at("access").value = "";
    at("access-field").hidden = false;
    at("access").focus();
  }

  /** Ask for it no more: the node has taken it. */
  close() {
    at("access").value = "";
    at("access-field").hidden = true;
    this.opened();
  }

  show(held, lines, said) {
    this.table.show(held);
    at("records").hidden = lines.length === 0;
    at("records").replaceChildren(...lines.map((line) => make("li", "", line)));
    say(at("look-told"), said);
  }
}

function places(told) {
  const nodes = told.nodes.map((node) => ({ where: node.node, held: node.held, empty: "nothing" }));
  if (told.redis.reason === NO_REDIS) return nodes;
  return [{ where: "Redis", held: told.redis.held, empty: told.redis.reason ? "unknown" : "nothing" }, ...nodes];
}

function rows(told) {
  const empty = (key, where, state) => ({ key, where, type: "", state, from: "", answer: "" });
  const held = places(told).flatMap((place, number) => {
    if (!place.held.length) return [empty(`${number}`, place.where, place.empty)];
    return place.held.map((one, index) => row(`${number} ${index}`, place.where, one));
  });
  return [...held, ...told.silent.map((node) => empty(`silent ${node}`, node, "no reply"))];
}

function row(key, where, one) {
  const answer = [one.rcode, count(one.count, "record"), one.ad ? "validated" : ""];
  return {
    key,
    where,
    type: [one.type, ...one.flags, one.subnet].filter(Boolean).join(" "),
    kind: one.state,
    state: one.reason ? `${one.state}: ${one.reason}` : one.state,
    ttl: one.ttl,
    age: one.age,
    from: one.origin ?? "",
    uses: one.uses,
    size: one.size ?? one.bytes,
    answer: one.rcode === undefined ? "" : answer.filter(Boolean).join(", "),
  };
}

/** The records without their TTLs, which differ from place to place. */
function records(told) {
  const lines = places(told).flatMap(({ held }) => held.flatMap((one) => one.records ?? []));
  return [...new Set(lines.map((line) => line.replace(/^(\S+) \d+ /, "$1 ")))].sort();
}

function summary(told) {
  const holders = places(told)
    .filter(({ held }) => held.length)
    .map(({ where }) => where);
  const less = [
    told.redis.reason && told.redis.reason !== NO_REDIS ? `Redis could not be asked: ${told.redis.reason}.` : "",
    told.reason && told.reason !== told.redis.reason ? `Other nodes were not asked: ${told.reason}.` : "",
    told.nodes.some((node) => !node.whole) ? "Some hold more than is shown." : "",
  ];
  const what = `${told.name}${told.type ? ` ${told.type}` : ""}`;
  return [holders.length ? `${what} is held in ${holders.join(", ")}.` : `Nobody holds ${what}.`, ...less]
    .filter(Boolean)
    .join(" ");
}
