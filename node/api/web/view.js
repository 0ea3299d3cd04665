// What all views share: how they follow the store, and small pieces of markup.

import { explain } from "./client.js";
import { duration } from "./format.js";
import { html, render } from "./html.js";
import { listen, now, store } from "./store.js";

/** @typedef {import("./html.js").Markup} Markup */

/** A view of the page, or a piece of one that follows the store. */
export class View extends HTMLElement {
  /** What follows the view's name in the address. */
  path = "";
  /** Whether it can be drawn before the snapshot is there. */
  alone = false;
  /** Why the last thing asked for was not done. */
  problem = "";
  /** @type {Array<() => void>} */
  #ends = [];
  #due = false;

  connectedCallback() {
    this.#ends.push(listen(() => this.changed()));
    this.opened();
    this.changed();
  }

  disconnectedCallback() {
    this.#ends.forEach((end) => end());
    this.#ends = [];
  }

  opened() {}

  /** @returns {Markup} */
  draw() {
    return html``;
  }

  /** Has the view drawn anew soon, once for however many changes. */
  changed() {
    if (this.#due) {
      return;
    }
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (this.isConnected && (this.alone || store.snapshot !== null)) {
        render(this.draw(), this);
      }
    });
  }

  /**
   * Does something now and again and again while the view is to be seen.
   * @param {number} pause ms between an end and the next begin
   * @param {() => Promise<unknown>} what
   */
  every(pause, what) {
    let over = false;
    let due = 0;
    const once = async () => {
      const well = document.hidden || await this.attempt(what);
      if (!over) {
        due = window.setTimeout(once, well ? pause : Math.min(pause, 1000));
      }
    };
    this.#ends.push(() => { over = true; clearTimeout(due); });
    once();
  }

  /** Does something that may fail, shows why it has, and tells whether not. @param {() => Promise<unknown>} what */
  async attempt(what) {
    try {
      await what();
      this.problem = "";
    } catch (error) {
      this.problem = explain(error);
    }
    this.changed();
    return this.problem === "";
  }

  /** The width of the view in pixels, which pictures are drawn to. */
  width = 0;

  /** Has the view drawn anew when its width changes. */
  measure() {
    const watch = new ResizeObserver(() => {
      if (this.clientWidth !== this.width) {
        this.width = this.clientWidth;
        this.changed();
      }
    });
    watch.observe(this);
    this.#ends.push(() => watch.disconnect());
    this.width = this.clientWidth;
  }

  /** The line that says why something was not done. */
  complaint() {
    return this.problem === "" || store.down !== null ? null : html`<p class="complaint" role="alert">${this.problem}</p>`;
  }
}

/** The age of a moment, which goes on by itself. */
class Age extends HTMLElement {
  /** @type {Set<Age>} */
  static all = new Set();
  #since = 0;
  #shown = "";

  /** @param {string|number|null} moment */
  set since(moment) {
    this.#since = typeof moment === "string" ? Date.parse(moment) : moment ?? 0;
    this.tick();
  }

  connectedCallback() {
    Age.all.add(this);
    this.tick();
  }

  disconnectedCallback() {
    Age.all.delete(this);
  }

  tick() {
    const seconds = (now() - this.#since) / 1000;
    const text = this.hasAttribute("left") ? duration(-seconds) : duration(seconds);
    if (this.#shown !== text) {
      this.textContent = this.#shown = text;
    }
  }
}
customElements.define("spare-age", Age);
setInterval(() => document.hidden || Age.all.forEach((age) => age.tick()), 1000);

export const age = (/** @type {string} */ moment) => html`<spare-age .since="${moment}" title="${new Date(moment).toLocaleString()}"></spare-age>`;
export const left = (/** @type {string} */ moment) => html`<spare-age left .since="${moment}" title="${`until ${new Date(moment).toLocaleString()}`}"></spare-age>`;

/** What tells a peer apart: IDs begin alike, and the command line shows sixteen letters. */
export const short = (/** @type {string} */ id) => (id.startsWith("12D3KooW") ? `…${id.slice(8, 16)}` : id.slice(0, 12));

export const peerName = (/** @type {string} */ id) =>
  (id === store.snapshot?.status.peer ? html`<span class="id" title="${id}">this node</span>` :
    html`<a class="id" href="${`#/peers/${id}`}" title="${id}">${short(id)}</a>`);

export const unknown = () => html`<span class="faint">unknown</span>`;

const words = /** @type {Record<string, [string, string]>} */ ({
  open: ["good", "open"], full: ["warn", "full"], paused: ["warn", "paused"], "owner-busy": ["warn", "owner busy"],
  queued: ["rest", "queued"], fetching: ["work", "fetching"], compiling: ["work", "compiling"], running: ["work", "running"],
  committed: ["work", "committed"], dissenting: ["bad", "dissenting"], done: ["good", "done"], refused: ["bad", "refused"], lost: ["bad", "lost"],
  "handed-over": ["rest", "handed over"], unreachable: ["bad", "unreachable"], cancelled: ["rest", "cancelled"], failed: ["bad", "failed"], passed: ["good", "passed"],
});

/** A state: a shape, a colour and a word. */
export function state(/** @type {string} */ word, /** @type {string} */ kind = words[word]?.[0] ?? "rest") {
  return html`<span class="${`state ${kind}`}">${words[word]?.[1] ?? word}</span>`;
}

/** The end of a task in a few words. @param {import("./types.js").Task} t */
export function outcome(t) {
  if (t.error) {
    return state(t.error.code, "bad");
  }
  return t.state === "done" && t.exit_code !== 0 && t.exit_code !== null ? state(`exit ${t.exit_code}`, "warn") : state(t.state);
}

/** What stands where there is nothing yet, and says how there will be. @param {string} title @param {unknown} text */
export const empty = (title, text) => html`<div class="empty"><strong>${title}</strong><p>${text}</p></div>`;

/** A command line that can be copied. @param {string} line */
export const command = (line) => html`<span class="command"><code>${line}</code><button type="button" class="quiet" aria-label="Copy this command"
  @click="${(/** @type {Event} */ e) => copy(e, line)}">Copy</button></span>`;

/** @param {Event} event @param {string} line */
async function copy(event, line) {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  try {
    await navigator.clipboard.writeText(line);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

/**
 * A part of a whole as a bar, beside the numbers. What is above the whole is full.
 * @param {number} part @param {number} of
 */
export const bar = (part, of) => html`<svg class="${`bar${of > 0 && part >= of ? " full" : ""}`}" aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 1">
  <rect class="trough" width="100" height="1"></rect><rect class="fill" width="${of > 0 ? Math.min(100, (100 * part) / of) : 0}" height="1"></rect></svg>`;

/**
 * Has the arrow keys go from mark to mark in a picture, of which only one is a
 * stop of the tabulator.
 * @param {KeyboardEvent} event
 */
export function rove(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  const marks = /** @type {SVGElement[]} */ ([.../** @type {Element} */ (event.currentTarget).querySelectorAll(".mark")]);
  const at = marks.indexOf(/** @type {any} */ (event.target));
  if (step === undefined || at < 0) {
    return;
  }
  event.preventDefault();
  marks[Math.min(marks.length - 1, Math.max(0, at + step))].focus();
}

/**
 * @typedef {{ head: string, number?: boolean, cell: (row: any) => unknown, by?: (row: any) => number|string|null }} Column
 */

/**
 * A table whose cells also carry their heads, for screens too narrow for it.
 * Heads of columns that can be sorted by are buttons.
 * @param {string} caption
 * @param {Column[]} columns
 * @param {any[]} rows
 * @param {{ key: (row: any) => string, sort?: {by: string, down: boolean}, onsort?: (by: string) => void, current?: string }} how
 */
export function table(caption, columns, rows, how) {
  const { sort, onsort } = how;
  const by = columns.find((c) => c.head === sort?.by)?.by;
  if (by !== undefined) {
    const sign = sort?.down ? -1 : 1;
    rows = rows.toSorted((a, b) => {
      const x = by(a);
      const y = by(b);
      if (x === null || y === null) { // what is unknown stands last
        return Number(x === null) - Number(y === null);
      }
      return x < y ? -sign : x > y ? sign : 0;
    });
  }
  return html`<div class="table"><table><caption class="aside">${caption}</caption><thead><tr>${columns.map((c) => html`<th scope="col" class="${c.number && "number"}"
      aria-sort="${c.head === sort?.by ? (sort?.down ? "descending" : "ascending") : null}">${c.by && onsort ?
        html`<button type="button" @click="${() => onsort(c.head)}">${c.head}</button>` : c.head}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => ({
      ...html`<tr class="${how.current === how.key(row) && "current"}" data-key="${how.key(row)}">${columns.map((c) => html`<td class="${c.number && "number"}" data-head="${c.head}"><div>${c.cell(row)}</div></td>`)}</tr>`,
      key: how.key(row),
    }))}</tbody></table></div>`;
}
