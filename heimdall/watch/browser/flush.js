// Flush a name on every node, once somebody has said yes, and shown the token where one is wanted.

import { keep, known } from "./access.js";
import { at, say } from "./build.js";
import { ask } from "./poll.js";
import { count } from "./units.js";

export class Flush {
  /** `done` is called with what to say of it. */
  constructor(done) {
    this.done = done;
    this.dialog = at("dialog");
    at("flush").addEventListener("click", () => this.open(at("name").value.trim()));
    at("cancel").addEventListener("click", () => this.dialog.close());
    at("subtree").addEventListener("change", () => this.describe());
    at("confirm").addEventListener("submit", (event) => {
      event.preventDefault();
      this.flush();
    });
  }

  open(name) {
    if (!name) {
      this.done("Which name?");
      at("name").focus();
      return;
    }
    this.name = name;
    say(at("dialog-name"), name);
    say(at("dialog-told"), "");
    at("subtree").checked = false;
    this.describe();
    this.dialog.showModal();
    at("cancel").focus();
  }

  describe() {
    const below = at("subtree").checked ? " and of every name below it" : "";
    say(at("dialog-text"), `Every node and Redis forget all types of it${below}; the upstreams are asked again.`);
  }

  async flush() {
    const asked = new URLSearchParams({ name: this.name, ...(at("subtree").checked ? { subtree: "1" } : {}) });
    keep(at("token").value.trim() || known());
    at("yes").disabled = true;
    say(at("dialog-told"), "");
    try {
      const told = await ask(`/api/v1/cache?${asked}`, { method: "DELETE" });
      this.dialog.close();
      this.done(summary(told), true);
    } catch (error) {
      this.refused(error);
    }
    at("yes").disabled = false;
  }

  refused(error) {
    say(
      at("dialog-told"),
      error.status ? `The node refuses: ${error.message}.` : `The node cannot be asked: ${error.message}.`,
    );
    if (error.status !== 403) return;
    keep("");
    at("token").value = "";
    at("token-field").hidden = at("token-text").hidden = false;
    at("token").focus();
  }
}

function summary(told) {
  const below = told.subtree ? " and every name below it" : "";
  const lines = [`Flushed ${told.name}${below} on ${count(told.nodes.length, "node")}: ${told.nodes.join(", ")}.`];
  if (!told.shared) lines.push(`Redis was not told: ${told.reason}.`);
  if (told.silent.length)
    lines.push(`No word from ${told.silent.join(", ")}, who forget it before they answer from memory again.`);
  return lines.join(" ");
}
