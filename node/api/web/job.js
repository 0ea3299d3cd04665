// One job: its cells, and its tasks as a table.

import { get, post } from "./client.js";
import { clock, gas, plural, span, whole } from "./format.js";
import { kinds } from "./grid.js";
import { html } from "./html.js";
import { store } from "./store.js";
import { View, age, command, outcome, peerName, state, table } from "./view.js";
import { progress } from "./tasks.js";

/** @typedef {import("./types.js").Task} Task */

const perPage = 25;
const mostCells = 400_000; // so many are drawn

/** @type {import("./view.js").Column[]} */
const columns = [
  { head: "Task", number: true, cell: (t) => html`<a href="${`#/task/${t.id}`}">${t.id.split("/")[1]}</a>` },
  { head: "State", cell: (t) => html`${outcome(t)} <span class="faint said brief">${t.error ? t.error.message : ""}</span>` },
  { head: "Where", cell: (t) => (t.attempts.length === 0 ? html`<span class="faint">nowhere yet</span>` : peerName(t.attempts.at(-1).provider)) },
  { head: "Attempts", number: true, cell: (t) => t.attempts.length },
  { head: "Guest time", number: true, cell: (t) => (t.wall_ms === null ? html`<span class="faint">—</span>` : span(t.wall_ms)) },
  { head: "Gas", number: true, cell: (t) => (t.gas === null ? html`<span class="faint">—</span>` : gas(t.gas)) },
];

class Job extends View {
  /** @type {import("./types.js").Job|null} */
  job = null;
  cells = "";
  alone = true;
  /** @type {Task[]} */
  rows = [];
  shown = ""; // the letter whose tasks are listed; all when empty
  page = 0;
  /** @type {import("./types.js").Job|null} */
  #seen = null; // the job whose cells are shown
  #round = -1;

  opened() {
    this.every(700, () => this.refresh());
  }

  async refresh() {
    const path = `/jobs/${encodeURIComponent(this.path)}`;
    let cells = "";
    if (this.job === null) { // what is seen first is asked for at once
      const [of, first] = await Promise.all([get(path), get(`${path}/cells?from=1`)]);
      [this.job, cells] = [of, first.cells];
    } else if (this.#round !== store.round) {
      this.job = await get(path);
    }
    this.#round = store.round;
    const job = /** @type {import("./types.js").Job} */ (this.job);
    this.job = store.jobs.get(job.id) ?? job; // which is told when a task begins, too
    if (this.job === this.#seen) {
      return;
    }
    const seen = this.job;
    while (cells.length < Math.min(seen.tasks, mostCells)) {
      const part = await get(`/jobs/${seen.id}/cells?from=${cells.length + 1}`);
      if (part.cells === "") {
        break;
      }
      cells += part.cells;
    }
    this.cells = cells;
    this.#seen = seen;
    this.changed();
    await this.list();
  }

  /** Asks for the tasks of the page of the table. */
  async list() {
    const id = this.job?.id;
    if (this.shown === "") {
      this.rows = (await get(`/jobs/${id}/tasks?limit=${perPage}&after=${this.page * perPage}`)).tasks;
      return;
    }
    const which = [];
    for (let i = this.cells.indexOf(this.shown), n = 0; i >= 0 && which.length < perPage; i = this.cells.indexOf(this.shown, i + 1), n++) {
      if (n >= this.page * perPage) {
        which.push(i + 1);
      }
    }
    this.rows = which.length === 0 ? [] : (await get(`/jobs/${id}/tasks?limit=${perPage}&tasks=${which.join(",")}`)).tasks;
  }

  /** @param {string} letter @param {number} page */
  show(letter, page) {
    this.shown = letter;
    this.page = page;
    return this.attempt(() => this.list());
  }

  /** @param {string} path */
  order(path) {
    return this.attempt(async () => {
      this.job = await post(`/jobs/${this.job?.id}/${path}`);
      this.#seen = null;
      await this.refresh();
    });
  }

  draw() {
    const j = this.job;
    if (j === null) {
      return html`<h1>Job <span class="id">${this.path}</span></h1>${this.complaint() ?? html`<p class="loading">…</p>`}`;
    }
    const counts = /** @type {Record<string, number>} */ ({});
    for (const letter of this.cells) {
      counts[letter] = (counts[letter] ?? 0) + 1;
    }
    const total = this.shown === "" ? j.tasks : counts[this.shown] ?? 0;
    const pages = Math.max(1, Math.ceil(total / perPage));
    const failed = (counts.f ?? 0) + (counts.s ?? 0);
    return html`<p class="crumbs"><a href="#/tasks">Tasks</a></p><h1>Job <span class="id">${j.id}</span></h1>${this.complaint()}
      <p class="lead"><span class="said">${j.name}</span> ${state(j.state)} <span class="faint said">${j.reason}</span></p>
      <div class="row between">${progress(j)}<span class="faint">${j.ended === null ? html`begun ${age(j.submitted)} ago` : `${clock(j.submitted)} to ${clock(j.ended)}`}</span></div>
      <div class="row">${j.ended === null ? html`<button type="button" class="danger" @click="${() => this.order("cancel")}">Cancel the job</button>` : null}
        ${j.ended !== null && failed > 0 ? html`<button type="button" @click="${() => this.order("rerun?failed=true")}">Run the failed again</button>` : null}
        ${command(failed > 0 && j.ended !== null ? `spare rerun --failed ${j.id}` : `spare wait ${j.id}`)}</div>
      <section aria-labelledby="h-cells"><h2 id="h-cells">Tasks</h2>
        <div class="filters" role="group" aria-label="Which tasks the table lists"><button type="button" aria-pressed="${this.shown === ""}" @click="${() => this.show("", 0)}">all ${whole(j.tasks)}</button>
        ${Object.entries(kinds).filter(([letter]) => counts[letter] > 0).map(([letter, { word }]) => html`<button type="button" aria-pressed="${this.shown === letter}" @click="${() => this.show(letter, 0)}">
          <svg class="swatch" viewBox="-1 -1 9 9" aria-hidden="true"><path class="${`cell-${letter}`}" d="${outlines[letter]}"></path></svg>${word} <b>${whole(counts[letter])}</b></button>`)}</div>
        ${this.cells === "" ? null : html`<spare-grid .cells="${this.cells}" @pick="${(/** @type {CustomEvent} */ e) => { location.hash = `#/task/${j.id}/${e.detail}`; }}"></spare-grid>`}
        ${this.cells.length < j.tasks && this.cells !== "" ? html`<p class="faint">The first ${whole(this.cells.length)} are drawn.</p>` : null}
        ${table(this.shown === "" ? "All tasks" : `Tasks: ${kinds[this.shown].word}`, columns, this.rows, { key: (t) => t.id })}
        <nav class="pager" aria-label="Pages of tasks"><button type="button" ?disabled="${this.page === 0}" @click="${() => this.show(this.shown, this.page - 1)}">Earlier</button>
        <span>page ${whole(this.page + 1)} of ${whole(pages)}, ${plural(total, "task")}</span><button type="button" ?disabled="${this.page + 1 >= pages}" @click="${() => this.show(this.shown, this.page + 1)}">Later</button></nav>
      </section>`;
  }
}
customElements.define("spare-job", Job);

/** The cells of the grid as outlines, for the legend. */
const outlines = /** @type {Record<string, string>} */ ({
  w: "M2.5,2.5H4.5V4.5H2.5Z", r: "M0,0H7V7H0ZM1,1V6H6V1ZM2.3,2.3H4.7V4.7H2.3Z", p: "M0,0H7V7H0Z", f: "M0,0L7,7H0Z",
  s: "M1,0L3.5,2.5L6,0L7,1L4.5,3.5L7,6L6,7L3.5,4.5L1,7L0,6L2.5,3.5L0,1Z", c: "M0,3H7V4H0Z",
});
