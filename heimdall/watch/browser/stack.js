// The chart of answers a second by who knew them, over the last minutes.

import { draw, make, say } from "./build.js";
import { ORIGINS, sum } from "./origins.js";
import { number, share, span } from "./units.js";

const EDGE = { left: 44, right: 6, top: 8, bottom: 22 };
const SPANS = [60, 120, 300, 600];
const POINTS = 120;

export class Stack {
  constructor(place, legend, when) {
    this.place = place;
    this.when = when;
    this.paths = ORIGINS.map(([name]) => draw("path", { class: `origin ${name}` }));
    this.grid = draw("g");
    this.cursor = draw("line", { class: "cursor", visibility: "hidden" });
    this.picture = draw("svg", { role: "img" }, this.grid, ...this.paths, this.cursor);
    place.append(this.picture);
    this.entries = ORIGINS.map(([name, called]) => {
      const value = make("b");
      legend.append(make("li", name, make("span", "swatch"), called, value));
      return value;
    });
    this.answers = { ago: [] };
    this.span = SPANS[0];
    this.pointer = null;
    place.addEventListener("pointermove", (event) => this.point(event.clientX));
    place.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.render()).observe(place);
  }

  show(answers) {
    const oldest = answers.ago[0] || 0;
    this.span = SPANS.find((seconds) => seconds >= oldest) || SPANS.at(-1);
    this.answers = thinned(answers, this.span / POINTS);
    this.render();
  }

  point(x) {
    this.pointer = x === null ? null : x - this.place.getBoundingClientRect().left;
    this.tell();
  }

  render() {
    const { ago } = this.answers;
    const [width, height] = [this.place.clientWidth, this.place.clientHeight];
    if (!width) return;
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const totals = ago.map((_, index) => sum(this.at(index)));
    const most = ceiling(Math.max(...totals, 0));
    const inner = { width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
    this.x = (seconds) => EDGE.left + inner.width * (1 - Math.min(seconds / this.span, 1));
    const y = (value) => EDGE.top + inner.height * (1 - value / most);
    let below = ago.map(() => 0);
    ORIGINS.forEach(([name], index) => {
      const above = below.map((value, at) => value + (this.answers[name][at] || 0));
      this.paths[index].setAttribute("d", area(ago, above, below, this.x, y));
      below = above;
    });
    this.axes(width, height, most, y);
    this.tell();
  }

  axes(width, height, most, y) {
    const marks = [0, most / 2, most].map((value) => [
      draw("line", {
        class: value ? "grid" : "axis",
        x1: EDGE.left,
        x2: width - EDGE.right,
        y1: y(value),
        y2: y(value),
      }),
      draw("text", { x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)),
    ]);
    const times = [1, 0.5, 0].map((part) =>
      draw(
        "text",
        { x: this.x(part * this.span), y: height - 5, "text-anchor": part === 1 ? "start" : part ? "middle" : "end" },
        part ? `${span(part * this.span)} ago` : "now",
      ),
    );
    const none = this.answers.ago.length
      ? []
      : [
          draw(
            "text",
            { class: "none", x: width / 2, y: height / 2 - 8, "text-anchor": "middle" },
            "Two looks at the nodes make a rate: a moment.",
          ),
        ];
    this.grid.replaceChildren(...marks.flat(), ...times, ...none);
  }

  /** Say in words and numbers what is drawn, at the pointer or of now. */
  tell() {
    const { ago } = this.answers;
    let index = ago.length - 1;
    if (this.pointer !== null && ago.length) {
      const off = (at) => Math.abs(this.x(ago[at]) - this.pointer);
      index = ago.reduce((best, _, at) => (off(at) < off(best) ? at : best), 0);
    }
    const values = index < 0 ? {} : this.at(index);
    const total = sum(values);
    ORIGINS.forEach(([name], at) => say(this.entries[at], index < 0 ? "–" : number(values[name])));
    say(
      this.when,
      index < 0 ? "" : this.pointer === null ? "now" : `${span(Math.round(ago[index]))} ago: ${number(total)} a second`,
    );
    const [x, y] = [index < 0 ? 0 : this.x(ago[index]), this.place.clientHeight - EDGE.bottom];
    const line = {
      x1: x,
      x2: x,
      y1: EDGE.top,
      y2: y,
      visibility: this.pointer === null || index < 0 ? "hidden" : "visible",
    };
    for (const [name, value] of Object.entries(line)) this.cursor.setAttribute(name, String(value));
    if (this.pointer !== null) return;
    const parts = ORIGINS.filter(([name]) => values[name]).map(
      ([name, called]) => `${called} ${share(values[name], total)}`,
    );
    this.picture.setAttribute(
      "aria-label",
      index < 0
        ? "No rates are known yet."
        : `${number(total)} answers a second now${parts.length ? `: ${parts.join(", ")}` : ""}.`,
    );
  }

  at(index) {
    return Object.fromEntries(ORIGINS.map(([name]) => [name, this.answers[name][index]]));
  }
}

/** The same with fewer points, each the mean of those within so many seconds; the last one stays as it is. */
function thinned(answers, seconds) {
  const groups = [];
  answers.ago.slice(0, -1).forEach((ago, index) => {
    const place = Math.floor(ago / seconds);
    if (groups.at(-1)?.place === place) groups.at(-1).members.push(index);
    else groups.push({ place, members: [index] });
  });
  const mean = (values) => [
    ...groups.map(({ members }) => members.reduce((sum, index) => sum + values[index], 0) / members.length),
    ...values.slice(-1),
  ];
  return Object.fromEntries(Object.entries(answers).map(([name, values]) => [name, mean(values)]));
}

/** The outline of what lies between two courses. */
function area(ago, above, below, x, y) {
  if (!ago.length) return "";
  const point = (values) => (seconds, index) => `${x(seconds).toFixed(1)},${y(values[index]).toFixed(1)}`;
  return `M${[...ago.map(point(above)), ...ago.map(point(below)).reverse()].join("L")}Z`;
}

/** The next round number above. */
function ceiling(value) {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 1.02) * power;
}
