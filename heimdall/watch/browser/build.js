// Build what is shown: only ever out of text, never out of markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element of this id. */
export const at = (id) => document.getElementById(id);

/** Make an element: its class, and what is in it, texts and elements. */
export function make(tag, kind = "", ...inside) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...inside);
  return made;
}

/** Make an element of a picture, with attributes out of our own code. */
export function draw(tag, attributes = {}, ...inside) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...inside);
  return made;
}

/** Have an element show a text; it is left alone when it does already, for the sake of who selects or reads it. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Give an element a class, and none but that. */
export function mark(element, kind) {
  if (element.className !== kind) element.className = kind;
}

/**
 * A table that is brought up to date row by row, so that focus and selection stay where they are.
 *
 * Of each column: `head`, its `kind` (classes of its cells), and `show(cell, item)`, which fills a cell.
 */
export class Table {
  constructor(table, columns, key) {
    this.table = table;
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    const heads = columns.map(({ head, kind = "" }) => {
      const cell = make("th", kind, head);
      cell.scope = "col";
      return cell;
    });
    this.body = make("tbody");
    table.append(make("thead", "", make("tr", "", ...heads)), this.body);
  }

  /** Show these items, in this order. */
  show(items) {
    const left = new Map(this.rows);
    const focused = document.activeElement;
    let place = this.body.firstChild;
    for (const item of items) {
      const key = this.key(item);
      let row = this.rows.get(key);
      if (row === undefined) {
        row = make("tr", "", ...this.columns.map(({ kind = "" }) => make("td", kind)));
        this.rows.set(key, row);
      }
      left.delete(key);
      if (row === place) place = row.nextSibling;
      else this.body.insertBefore(row, place);
      this.columns.forEach(({ show }, index) => show(row.cells[index], item));
    }
    for (const [key, row] of left) {
      row.remove();
      this.rows.delete(key);
    }
    // What moves loses the focus.
    if (focused !== document.activeElement && this.body.contains(focused)) focused.focus({ preventScroll: true });
    this.table.hidden = items.length === 0;
  }
}

/** A column that shows a text. */
export const text = (head, of, kind = "") => ({ head, kind, show: (cell, item) => say(cell, of(item)) });

/** A column that shows a number, set to the right. */
export const figure = (head, of, kind = "") => text(head, of, `number ${kind}`.trim());

/** Show a state in a cell: its word, and how good it is. */
export function state(cell, word, how) {
  if (!cell.firstChild) cell.append(make("span"));
  say(cell.firstChild, word);
  mark(cell.firstChild, `status is-${how}`);
}
