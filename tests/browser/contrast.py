"""What of a page cannot be read well by everybody, by WCAG 2.2: found in the page itself, as it is shown."""

from __future__ import annotations

from tests.browser.chromium import Page

_SCRIPT = r"""
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const light = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
const ratio = (one, other) => {
  const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
    if (colour[3] > 0) throw new Error("see-through");
  }
  return [255, 255, 255];
};
const shown = (element) => {
  return element.checkVisibility({ visibilityProperty: true }) && element.getBoundingClientRect().width > 0;
};
const checked = [], wrong = [];
const check = (what, colour, behind, least) => {
  const found = ratio(parse(colour), behind);
  checked.push(what);
  if (found < least) wrong.push(`${what}: ${found.toFixed(2)}, not ${least} (${colour} on ${behind})`);
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  const said = texts.currentNode.textContent.trim();
  if (!said || !shown(element) || element.closest(".skip") || element.tagName === "TITLE") continue;
  const style = getComputedStyle(element);
  check(`text ${said.slice(0, 40)}`, element instanceof SVGElement ? style.fill : style.color, ground(element), 4.5);
}
for (const field of document.querySelectorAll("input:not([type=checkbox])")) {
  if (!shown(field)) continue;
  check(`what ${field.id} says while empty`, getComputedStyle(field, "::placeholder").color, ground(field), 4.5);
  check(`the edge of ${field.id}`, getComputedStyle(field).borderTopColor, ground(field.parentElement), 3);
}
for (const mark of document.querySelectorAll(".swatch, .bar i, .dot")) {
  const of = mark.className || mark.parentElement.className;
  const behind = ground(mark.closest("section, header"));
  if (shown(mark) && (mark.className || of !== "bar thin")) {
    check(`the mark ${of}`, getComputedStyle(mark).backgroundColor, behind, 3);
  }
}
for (const part of document.querySelectorAll("path.origin, rect.bars")) {
  check(`the drawing ${part.getAttribute("class")}`, getComputedStyle(part).fill, ground(part.closest("section")), 3);
}
for (const state of document.querySelectorAll(".status")) {
  const colour = getComputedStyle(state, "::before").backgroundColor;
  if (shown(state)) check(`the state ${state.textContent}`, colour, ground(state), 3);
}
return [checked.length, wrong];
"""

_NAMELESS = r"""
const name = (element) => [
  element.getAttribute("aria-label"),
  element.getAttribute("alt"),
  ...[...(element.labels || [])].map((label) => label.textContent),
  document.getElementById(element.getAttribute("aria-labelledby"))?.textContent,
  element.matches("button, a, th") ? element.textContent : "",
].join("");
const wanting = "button, a, input, table, section, dialog, [role=img], th";
const wrong = [...document.querySelectorAll(wanting)].filter((element) => !name(element).trim());
return wrong.map((element) => element.outerHTML.slice(0, 200));
"""


def faint(page: Page) -> tuple[int, list[str]]:
    """Return how many texts, edges and marks were looked at, and which stand out too little from what is behind.

    Texts have to by 4.5 to 1 (1.4.3), edges of fields, marks and drawings by 3 to 1 (1.4.11).
    """
    looked, wrong = page.run(_SCRIPT)
    return int(looked), [str(each) for each in wrong]


def nameless(page: Page) -> list[str]:
    """Return the controls, tables, regions and pictures that have no name for who cannot see them (4.1.2, 1.1.1)."""
    return [str(each) for each in page.run(_NAMELESS)]
