// The names that the cluster is asked for most, and those that one node alone is asked for.

import { Table, at, figure, make, say, text } from "./build.js";
import { number, share, span } from "./units.js";

const FIRST = 12;

/** Shows one list; `chosen` is called with the name and the type that somebody picks. */
class List {
  constructor(id, columns, none, chosen) {
    this.none = none;
    this.id = id;
    this.all = false;
    this.names = [];
    const pick = {
      head: "Name",
      show: (cell, item) => {
        if (!cell.firstChild) {
          cell.append(make("button", "name"));
          cell.firstChild.type = "button";
          cell.firstChild.addEventListener("click", () => chosen(cell.firstChild.textContent, cell.dataset.type));
        }
        say(cell.firstChild, item.name);
        cell.dataset.type = item.type;
      },
    };
    this.table = new Table(
      at(id),
      [pick, text("Type", (item) => item.type, "quiet"), ...columns],
      (item) => `${item.type} ${item.name}`,
    );
    at(`${id}-more`).addEventListener("click", () => {
      this.all = !this.all;
      this.show(this.names);
    });
  }

  show(names, why = "") {
    this.names = names;
    this.table.show(this.all ? names : names.slice(0, FIRST));
    const more = at(`${this.id}-more`);
    more.hidden = names.length <= FIRST;
    say(more, this.all ? "Show fewer" : `Show all ${names.length}`);
    const none = at(`${this.id}-none`);
    none.hidden = names.length > 0;
    say(none, why || this.none);
  }
}

export class Names {
  constructor(chosen) {
    const asked = (item) => number(item.asked);
    const cached = (item) => share(item.memory + item.redis, item.memory + item.redis + item.upstream);
    this.hot = new List(
      "hot",
      [
        figure("Asked", asked),
        figure("Cached", cached),
        figure("Nodes", (item) => number(item.nodes), "narrow"),
        figure("TTL", (item) => span(item.ttl), "narrow"),
      ],
      "No name so far. The nodes tell every ten seconds what they are asked.",
      chosen,
    );
    this.single = new List(
      "single",
      [text("Node", (item) => item.node ?? "has left", "quiet wrap"), figure("Asked", asked)],
      "No name so far: every name that is asked is asked of several nodes.",
      chosen,
    );
  }

  show(told) {
    say(at("hot-sub"), told.shared ? "by the whole cluster" : `of this node alone: ${told.reason}`);
    this.hot.show(told.names);
    if (told.shared) this.single.show(told.single);
    else this.single.show([], "This node alone has counted.");
  }

  /** Say why there are none. */
  none(why) {
    this.hot.show([], why);
    this.single.show([], why);
  }
}
