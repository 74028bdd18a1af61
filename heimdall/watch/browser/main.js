// The page: asks the node how the cluster does, and shows it.

import { at, mark, say } from "./build.js";
import { figures } from "./figures.js";
import { Flush } from "./flush.js";
import { Latency } from "./latency.js";
import { Look } from "./look.js";
import { about, members } from "./members.js";
import { Names } from "./names.js";
import { Poll } from "./poll.js";
import { served, servers } from "./servers.js";
import { Stack } from "./stack.js";
import { span } from "./units.js";

const EVERY = 2000;
const NAMES_EVERY = 10_000;

const stack = new Stack(at("answers"), at("legend"), at("answers-when"));
const latency = new Latency(at("latency"), at("latency-text"));
const nodes = members();
const others = servers();
const look = new Look(() => counted.again());
const names = new Names((name, type) => look.pick(name, type));
new Flush((said, flushed) => (flushed ? look.look(said) : say(at("look-told"), said)));

let last = null;

function heard(told) {
  const first = last === null;
  last = told;
  document.title = `Heimdall – ${told.node}`;
  say(at("node"), told.node);
  say(at("version"), `Heimdall ${told.version}`);
  say(at("state"), "live");
  mark(at("live"), "live");
  figures(told);
  stack.show(told.answers);
  latency.show(told.latency);
  say(at("members-sub"), about(told));
  nodes.show(told.members);
  others.show(served(told));
  trouble(...wrong(told));
  if (!told.counted) names.none("Nothing is counted, as cache.hot_names is 0.");
  else if (first) counted.again();
}

function lost(error, wait) {
  const node = last === null ? "The node" : last.node;
  say(at("state"), `asks again in ${span(Math.round(wait / 1000))}`);
  mark(at("live"), "lost");
  trouble(
    `${node} cannot be asked: ${error.message}. ${last === null ? "" : "What is shown is what it said last."}`,
    "",
  );
}

/** What an operator should know first, and how bad it is. */
function wrong(told) {
  if (told.upstreams.length && !told.upstreams.some((server) => server.up))
    return ["No upstream answers: what is not known is answered stale or not at all.", ""];
  if (told.redis && !told.redis.up) return [`Redis is away: ${told.reason || "nothing is shared for now"}.`, "mild"];
  const own = told.members.find((member) => member.own);
  if (own && own.status === "starting")
    return ["This node is starting: it loads what is hot before it is ready.", "mild"];
  return ["", ""];
}

function trouble(said, kind) {
  at("trouble").hidden = !said;
  mark(at("trouble"), kind);
  say(at("trouble"), said);
}

const counted = new Poll(
  "/api/v1/top",
  NAMES_EVERY,
  (told) => names.show(told),
  (error) => error.status === 403 && names.none("To see names takes the token: look one up, and you are asked for it."),
  () => last?.counted,
);

new Poll("/api/v1/overview", EVERY, heard, lost).again();
