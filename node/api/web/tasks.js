// What this node has been asked to have run: tasks and jobs, newest first.

import { get } from "./client.js";
import { gas, plural, span, whole } from "./format.js";
import { html } from "./html.js";
import { store } from "./store.js";
import { View, age, command, empty, outcome, peerName, state, table } from "./view.js";

/** @typedef {import("./types.js").Task} Task @typedef {import("./types.js").Job} Job */

const perPage = 25;

/** @type {import("./view.js").Column[]} */
const taskColumns = [
  { head: "Task", cell: (t) => html`<a class="id" href="${`#/task/${t.id}`}">${t.id}</a>` },
  { head: "Program", cell: (t) => html`<span class="said brief" title="${t.name}">${t.name}</span>` },
  { head: "State", cell: (t) => html`${outcome(t)} <span class="faint said brief" title="${t.reason}">${t.error ? t.error.message : t.exit_code === 0 ? "" : t.reason}</span>` },
  { head: "Where", cell: (t) => where(t) },
  { head: "Age", number: true, cell: (t) => age(t.submitted) },
  { head: "Guest time", number: true, cell: (t) => (t.wall_ms === null ? html`<span class="faint">—</span>` : span(t.wall_ms)) },
  { head: "Gas", number: true, cell: (t) => (t.gas === null ? html`<span class="faint">—</span>` : gas(t.gas)) },
];

/** Where it ran, or runs. @param {Task} t */
function where(t) {
  const last = t.attempts.findLast((a) => a.state === "done") ?? t.attempts.at(-1);
  return last === undefined ? html`<span class="faint">nowhere yet</span>` :
    html`${peerName(last.provider)}${t.attempts.length > 1 ? html` <span class="faint">${plural(t.attempts.length, "attempt")}</span>` : null}`;
}

/** @type {import("./view.js").Column[]} */
const jobColumns = [
  { head: "Job", cell: (j) => html`<a class="id" href="${`#/job/${j.id}`}">${j.id}</a>` },
  { head: "Program", cell: (j) => html`<span class="said brief" title="${j.name}">${j.name}</span>` },
  { head: "State", cell: (j) => html`${state(j.state)} <span class="faint said brief">${j.reason}</span>` },
  { head: "Progress", cell: (j) => html`${progress(j)}` },
  { head: "Age", number: true, cell: (j) => age(j.submitted) },
];

/** How much has passed and failed. @param {Job} j */
export function progress(j) {
  const text = `${whole(j.passed)} passed${j.failed ? `, ${whole(j.failed)} failed` : ""} of ${whole(j.tasks)}`;
  const share = (/** @type {number} */ n) => (100 * n) / Math.max(1, j.tasks);
  return html`<span class="progress"><svg class="bar" aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 1"><rect class="trough" width="100" height="1"></rect>
    <rect class="fill" width="${share(j.passed)}" height="1"></rect><rect class="fill bad" x="${share(j.passed)}" width="${share(j.failed)}" height="1"></rect></svg><span>${text}</span></span>`;
}

/** A list that comes in pages, the newest first, into which news are mixed. */
class Pages {
  /** @type {string[]} the cursors of the pages up to this one */
  cursors = [""];
  /** @type {any[]|null} */
  rows = null;
  next = "";
  round = -1;

  /** @param {string} path @param {string} name */
  constructor(path, name) {
    this.path = path;
    this.name = name;
  }

  async load() {
    this.round = store.round;
    const before = this.cursors.at(-1);
    const page = await get(`${this.path}?limit=${perPage}${before && `&before=${before}`}`);
    this.rows = page[this.name];
    this.next = page.next;
  }

  /** The rows with what was told since. @param {Map<string, any>} news */
  mixed(news) {
    const rows = (this.rows ?? []).map((r) => news.get(r.id) ?? r);
    if (this.cursors.length > 1) {
      return rows;
    }
    const newer = [...news.values()].filter((n) => !rows.some((r) => r.id === n.id) && (rows.length === 0 || n.submitted >= rows[0].submitted));
    return [...newer.sort((a, b) => (a.submitted < b.submitted ? 1 : -1)), ...rows].slice(0, perPage);
  }
}

class Tasks extends View {
  tasks = new Pages("/tasks", "tasks");
  jobs = new Pages("/jobs", "jobs");

  opened() {
    this.every(1000, async () => {
      for (const list of [this.tasks, this.jobs]) {
        if (list.round !== store.round && store.snapshot !== null) {
          await list.load();
        }
      }
    });
  }

  /** @param {Pages} list @param {boolean} on */
  turn(list, on) {
    if (on) {
      list.cursors.push(list.next);
    } else {
      list.cursors.pop();
    }
    return this.attempt(() => list.load());
  }

  draw() {
    const jobs = this.jobs.mixed(store.jobs);
    const tasks = this.tasks.mixed(store.tasks);
    return html`<h1>Tasks</h1>${this.complaint()}
      <section aria-labelledby="h-jobs"><h2 id="h-jobs">Jobs</h2>${this.jobs.rows === null ? html`<p class="loading">…</p>` : jobs.length === 0 ?
        empty("No job yet.", html`A job is one program over many items: ${command("spare map bin/examples/primes.wasm ::: 1000 2000 3000")}`) :
        html`${table("Jobs, newest first", jobColumns, jobs, { key: (j) => j.id })}${this.pager(this.jobs, "jobs")}`}</section>
      <section aria-labelledby="h-tasks"><h2 id="h-tasks">Single tasks</h2>${this.tasks.rows === null ? html`<p class="loading">…</p>` : tasks.length === 0 ?
        empty("No task yet.", html`Run a program on a near and idle peer: ${command("echo hello | spare run bin/examples/wordcount.wasm")}`) :
        html`${table("Tasks, newest first", taskColumns, tasks, { key: (t) => t.id })}${this.pager(this.tasks, "tasks")}`}</section>`;
  }

  /** @param {Pages} list @param {string} what */
  pager(list, what) {
    const page = list.cursors.length;
    return page === 1 && !list.next ? null : html`<nav class="pager" aria-label="${`Pages of ${what}`}"><button type="button" ?disabled="${page === 1}" @click="${() => this.turn(list, false)}">Newer</button>
      <span>page ${page}</span><button type="button" ?disabled="${!list.next}" @click="${() => this.turn(list, true)}">Older</button></nav>`;
  }
}
customElements.define("spare-tasks", Tasks);
