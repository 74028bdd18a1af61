// The histogram of how long answers take; its shares are drawn by their size in powers of ten, as most are hits.

import { draw, make } from "./build.js";
import { share, span } from "./units.js";

const EDGE = { left: 44, right: 4, top: 8, bottom: 22 };
const LEAST = 0.0001;
const LINES = [
  [1, "100 %"],
  [0.1, "10 %"],
  [0.01, "1 %"],
  [0.001, "0.1 %"],
];
const TICKS = [
  [0.0001, "0.1 ms"],
  [0.001, "1 ms"],
  [0.01, "10 ms"],
  [0.1, "100 ms"],
  [1, "1 s"],
];

/** The time within which a share of all was answered: the upper bound of the bucket where it is reached. */
export function within(latency, part) {
  const total = latency.counts.reduce((sum, value) => sum + value, 0);
  if (!total) return null;
  let reached = 0;
  for (const [index, value] of latency.counts.entries()) {
    reached += value;
    if (reached >= part * total) return latency.bounds[index] ?? Infinity;
  }
  return Infinity;
}

/** A bound in words: within 10 ms, longer than 5 s. */
export function bound(latency, seconds) {
  return seconds === Infinity ? `over ${span(latency.bounds.at(-1))}` : span(seconds);
}

export class Latency {
  constructor(place, words) {
    this.place = place;
    this.words = words;
    this.picture = draw("svg", { role: "img" });
    this.latency = { bounds: [], counts: [] };
    place.append(this.picture);
    new ResizeObserver(() => this.render()).observe(place);
  }

  show(latency) {
    this.latency = latency;
    this.render();
    this.tell();
  }

  render() {
    const { bounds, counts } = this.latency;
    const [width, height] = [this.place.clientWidth, this.place.clientHeight];
    if (!width) return;
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const step = (width - EDGE.left - EDGE.right) / (counts.length || 1);
    const ground = height - EDGE.bottom;
    const y = (part) => EDGE.top + ((ground - EDGE.top) * Math.log10(part)) / Math.log10(LEAST);
    const total = counts.reduce((sum, value) => sum + value, 0);
    const lines = LINES.flatMap(([part, text]) => [
      draw("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(part), y2: y(part) }),
      draw("text", { x: EDGE.left - 8, y: y(part) + 4, "text-anchor": "end" }, text),
    ]);
    const bars = counts.map((value, index) => {
      const top = value && total ? Math.min(y(value / total), ground - 2) : ground;
      const from = index ? span(bounds[index - 1]) : "0";
      const title = draw(
        "title",
        {},
        `${from} to ${index < bounds.length ? span(bounds[index]) : "more"}: ${share(value, total)}`,
      );
      return draw(
        "rect",
        {
          class: "bars",
          x: EDGE.left + index * step + 1.5,
          width: Math.max(step - 3, 1),
          y: top,
          height: ground - top,
          rx: 1.5,
        },
        title,
      );
    });
    const ticks = TICKS.filter(([seconds]) => bounds.includes(seconds)).map(([seconds, text]) =>
      draw(
        "text",
        { x: EDGE.left + (bounds.indexOf(seconds) + 1) * step, y: height - 5, "text-anchor": "middle" },
        text,
      ),
    );
    const axis = draw("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: ground, y2: ground });
    const none = total
      ? []
      : [
          draw(
            "text",
            { class: "none", x: (width + EDGE.left) / 2, y: height / 2, "text-anchor": "middle" },
            "Nobody asked in the last minute.",
          ),
        ];
    this.picture.replaceChildren(...lines, ...bars, axis, ...ticks, ...none);
  }

  tell() {
    const parts = [
      [0.5, "half"],
      [0.9, "90 %"],
      [0.99, "99 %"],
    ].map(([part, called]) => [called, within(this.latency, part)]);
    if (parts[0][1] === null) {
      this.words.replaceChildren("\u00a0");
      this.picture.setAttribute("aria-label", "Nobody asked in the last minute.");
      return;
    }
    const said = parts.map(([called, seconds]) => [called, bound(this.latency, seconds)]);
    const shown = said.map(([called, seconds]) => [`${called} within `, make("b", "", seconds)]);
    this.words.replaceChildren(...shown.flatMap((parts, index) => (index ? [" · ", ...parts] : parts)));
    const words = said.map(([called, seconds]) => `${called} took up to ${seconds}`).join(", ");
    this.picture.setAttribute("aria-label", `Of the answers of the last minute, ${words}.`);
  }
}
