// A job as a grid of cells, one a task, on a canvas: ten thousand are smooth.

import { whole } from "./format.js";

/** What a letter of the API stands for: its word, its colour, and how its cell is drawn. */
export const kinds = /** @type {Record<string, {word: string, colour: string}>} */ ({
  w: { word: "waits", colour: "--line-strong" },
  r: { word: "under way", colour: "--work" },
  p: { word: "passed", colour: "--good-fill" },
  f: { word: "failed by its program", colour: "--warn-fill" },
  s: { word: "failed by spare", colour: "--bad-fill" },
  c: { word: "cancelled", colour: "--faint" },
});

/** Draws one cell of a side, at 0,0. @param {CanvasRenderingContext2D} c @param {string} letter @param {number} side */
function cell(c, letter, side) {
  const s = side;
  const thin = Math.max(1, s / 7);
  c.lineWidth = thin;
  switch (letter) {
    case "p":
      c.fillRect(0, 0, s, s);
      break;
    case "f": // a corner is missing
      c.beginPath();
      c.moveTo(0, 0);
      c.lineTo(s, s);
      c.lineTo(0, s);
      c.fill();
      break;
    case "s": // a cross
      c.lineWidth = 1.6 * thin;
      c.beginPath();
      c.moveTo(thin, thin);
      c.lineTo(s - thin, s - thin);
      c.moveTo(s - thin, thin);
      c.lineTo(thin, s - thin);
      c.stroke();
      break;
    case "r": // a frame with a core
      c.strokeRect(thin / 2, thin / 2, s - thin, s - thin);
      c.fillRect(s * 0.3, s * 0.3, s * 0.4, s * 0.4);
      break;
    case "c":
      c.fillRect(0, s / 2 - thin / 2, s, thin);
      break;
    default:
      c.fillRect(s * 0.36, s * 0.36, s * 0.28, s * 0.28);
  }
}

class Grid extends HTMLElement {
  #cells = "";
  #drawn = "";
  #at = 0; // the cell that the keyboard is on
  #pitch = 0; // CSS pixels from cell to cell
  #columns = 1;
  #side = 0; // device pixels of a cell
  /** @type {Map<string, HTMLCanvasElement>} */
  #sprites = new Map();
  #canvas = document.createElement("canvas");
  #ring = document.createElement("div");
  #said = document.createElement("p");
  #watch = new ResizeObserver(() => this.#layout());
  #again = () => { this.#layout(true); };
  #dark = matchMedia("(prefers-color-scheme: dark)");

  connectedCallback() {
    this.#canvas.tabIndex = 0;
    this.#canvas.setAttribute("role", "application");
    this.#canvas.setAttribute("aria-roledescription", "grid of tasks");
    this.#canvas.setAttribute("aria-label", "Tasks of the job; arrow keys go from one to the next, Enter opens it");
    this.#ring.className = "ring";
    this.#said.className = "said-cell";
    this.#said.setAttribute("role", "status");
    this.#said.textContent = "Point at a cell, or use the arrow keys.";
    const frame = document.createElement("div");
    frame.className = "frame";
    frame.append(this.#canvas, this.#ring);
    this.replaceChildren(this.#said, frame);
    this.#canvas.onpointermove = (e) => this.#tell(this.#under(e));
    this.#canvas.onclick = (e) => this.#pick(this.#under(e));
    this.#canvas.onkeydown = (e) => this.#key(e);
    this.#canvas.onfocus = () => this.#move(this.#at);
    this.#canvas.onblur = () => { this.#ring.hidden = true; };
    this.#ring.hidden = true;
    this.#watch.observe(this);
    addEventListener("theme", this.#again);
    this.#dark.addEventListener("change", this.#again);
    this.#layout();
  }

  disconnectedCallback() {
    this.#watch.disconnect();
    removeEventListener("theme", this.#again);
    this.#dark.removeEventListener("change", this.#again);
  }

  /** One letter a task. @param {string} cells */
  set cells(cells) {
    const same = cells.length === this.#cells.length;
    this.#cells = cells;
    if (this.isConnected) {
      if (same && this.#pitch > 0) {
        this.#paint();
      } else {
        this.#layout(true);
      }
    }
  }

  #layout(anew = false) {
    const width = this.clientWidth;
    const n = this.#cells.length;
    if (width === 0 || n === 0) {
      return;
    }
    const pitch = n <= 200 ? 24 : n <= 2000 ? 15 : n <= 20_000 ? 10 : 5;
    const columns = Math.max(1, Math.min(n, Math.floor(width / pitch)));
    if (!anew && pitch === this.#pitch && columns === this.#columns) {
      return;
    }
    this.#pitch = pitch;
    this.#columns = columns;
    const scale = Math.min(2, devicePixelRatio);
    const gap = pitch > 5 ? Math.max(1, Math.round(pitch / 8)) : 1;
    this.#side = Math.round((pitch - gap) * scale);
    const rows = Math.ceil(n / columns);
    this.#canvas.width = Math.round(columns * pitch * scale);
    this.#canvas.height = Math.round(rows * pitch * scale);
    this.#canvas.style.width = `${columns * pitch}px`;
    this.#canvas.style.height = `${rows * pitch}px`;
    this.#ring.style.width = this.#ring.style.height = `${pitch - gap}px`;
    this.#sprites.clear();
    for (const [letter, { colour }] of Object.entries(kinds)) {
      const sprite = document.createElement("canvas");
      sprite.width = sprite.height = this.#side;
      const c = /** @type {CanvasRenderingContext2D} */ (sprite.getContext("2d"));
      this.#ring.style.color = `var(${colour})`;
      c.fillStyle = c.strokeStyle = getComputedStyle(this.#ring).color;
      cell(c, letter, this.#side);
      this.#sprites.set(letter, sprite);
    }
    this.#ring.style.color = "";
    this.#drawn = "";
    this.#paint();
  }

  /** Draws the cells that have changed. */
  #paint() {
    const c = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    const step = this.#canvas.width / this.#columns;
    for (let i = 0; i < this.#cells.length; i++) {
      const letter = this.#cells[i];
      if (letter === this.#drawn[i]) {
        continue;
      }
      const x = Math.round((i % this.#columns) * step);
      const y = Math.round(Math.floor(i / this.#columns) * step);
      c.clearRect(x, y, this.#side, this.#side);
      const sprite = this.#sprites.get(letter);
      if (sprite !== undefined) {
        c.drawImage(sprite, x, y);
      }
    }
    this.#drawn = this.#cells;
    this.dispatchEvent(new Event("painted"));
  }

  /** The cell under the pointer, or -1. @param {PointerEvent|MouseEvent} e */
  #under(e) {
    const column = Math.floor(e.offsetX / this.#pitch);
    const i = Math.floor(e.offsetY / this.#pitch) * this.#columns + column;
    return column < this.#columns && i < this.#cells.length ? i : -1;
  }

  /** @param {number} i */
  #tell(i) {
    if (i >= 0) {
      this.#said.textContent = `Task ${whole(i + 1)}: ${kinds[this.#cells[i]]?.word ?? "unknown"}`;
    }
  }

  /** @param {number} i */
  #move(i) {
    this.#at = Math.max(0, Math.min(this.#cells.length - 1, i));
    this.#ring.hidden = false;
    this.#ring.style.transform = `translate(${(this.#at % this.#columns) * this.#pitch}px, ${Math.floor(this.#at / this.#columns) * this.#pitch}px)`;
    this.#tell(this.#at);
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    const step = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.#columns, ArrowUp: -this.#columns,
      PageDown: 10 * this.#columns, PageUp: -10 * this.#columns, Home: -Infinity, End: Infinity,
    }[e.key];
    if (e.key === "Enter") {
      this.#pick(this.#at);
    } else if (step !== undefined) {
      e.preventDefault();
      this.#move(this.#at + step);
      this.#ring.scrollIntoView({ block: "nearest" });
    }
  }

  /** @param {number} i */
  #pick(i) {
    if (i >= 0) {
      this.dispatchEvent(new CustomEvent("pick", { detail: i + 1 }));
    }
  }
}
customElements.define("spare-grid", Grid);
