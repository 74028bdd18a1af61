// Ask the node again and again: not while nobody looks, and ever less often while it does not answer.

import { known } from "./access.js";

const PATIENCE = 5000;
const LONGEST = 15_000;

/** Ask for a page. Returns what it says; fails with an Error that has a `status`, 0 where nobody answered. */
export async function ask(path, { method = "GET", token = known() } = {}) {
  let reply, told;
  try {
    reply = await fetch(path, {
      method,
      cache: "no-store",
      credentials: "omit",
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      signal: AbortSignal.timeout(PATIENCE),
    });
    told = await reply.json();
  } catch (error) {
    throw Object.assign(new Error(error.name === "TimeoutError" ? "it takes too long" : "it does not answer"), {
      status: 0,
    });
  }
  if (!reply.ok) throw Object.assign(new Error(String(told.error ?? reply.status)), { status: reply.status });
  return told;
}

/**
 * Asks for `path` every so many milliseconds, while `wanted`; `heard` is told what it says, `lost` why nothing came and
 * when it asks again.
 */
export class Poll {
  constructor(path, every, heard, lost, wanted = () => true) {
    Object.assign(this, { path, every, heard, lost, wanted, wait: every, timer: 0, asking: false });
    document.addEventListener("visibilitychange", () => this.again());
    window.addEventListener("online", () => this.again());
  }

  /** Ask now, if somebody looks. */
  again() {
    clearTimeout(this.timer);
    if (document.hidden || this.asking) return;
    if (this.wanted()) this.ask();
    else this.timer = setTimeout(() => this.again(), this.every);
  }

  async ask() {
    this.asking = true;
    let told = null;
    try {
      told = await ask(this.path);
      this.wait = this.every;
    } catch (error) {
      this.wait = Math.min(this.wait * 1.5, LONGEST);
      this.lost(error, this.wait);
    }
    this.asking = false;
    if (!document.hidden) this.timer = setTimeout(() => this.again(), this.wait);
    if (told !== null) this.heard(told);
  }
}
