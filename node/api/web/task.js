// One task: where it went and why, what came of each replica, and its output.

import { get, list, post, text } from "./client.js";
import { bytes, clock, gas, ms, quoted, span, whole } from "./format.js";
import { html, svg } from "./html.js";
import { now } from "./store.js";
import { View, age, command, outcome, peerName, short, state, table, unknown } from "./view.js";

/** @typedef {import("./types.js").Task} Task @typedef {import("./types.js").Attempt} Attempt */

const mostOutput = 64 << 10; // bytes of each output that are shown
const usual = { memory_bytes: 512 << 20, wall_ms: 3_600_000, gas: 1e13 }; // what no flag says

class OneTask extends View {
  /** @type {Task|null} */
  task = null;
  /** @type {import("./types.js").Offer[]} */
  offers = [];
  out = { stdout: { text: "", more: false }, stderr: { text: "", more: false } };
  #told = ""; // what of the outputs is shown

  opened() {
    this.measure();
    this.every(1500, () => this.refresh());
  }

  async refresh() {
    if (this.task?.ended && this.#told === "whole") {
      return;
    }
    const id = encodeURIComponent(this.path);
    const t = /** @type {Task} */ (await get(`/tasks/${id}`));
    this.task = t;
    this.offers = t.state === "queued" ? await list(`/tasks/${id}/offers`) : [];
    if (t.attempts.length > 0 || t.ended !== null) {
      const [stdout, stderr] = await Promise.all([text(`/tasks/${id}/stdout`, mostOutput), text(`/tasks/${id}/stderr`, mostOutput)]);
      this.out = { stdout, stderr };
    }
    this.#told = t.ended === null ? "" : "whole";
  }

  draw() {
    const t = this.task;
    if (t === null) {
      return html`<h1>Task <span class="id">${this.path}</span></h1>${this.complaint() ?? html`<p class="loading">…</p>`}`;
    }
    const [job, index] = t.id.split("/");
    return html`<p class="crumbs"><a href="#/tasks">Tasks</a>${index ? html` / <a href="${`#/job/${job}`}">job <span class="id">${job}</span></a>` : null}</p>
      <h1>Task <span class="id">${t.id}</span></h1>${this.complaint()}
      <p class="lead"><span class="said">${t.name}</span> ${outcome(t)} <span class="faint said">${t.error ? "" : t.reason}</span></p>
      ${t.error ? html`<p class="complaint said"><strong>${t.error.code}</strong> ${t.error.message}${t.error.hint ? html` <span class="faint">${t.error.hint}</span>` : null}</p>` : null}
      <div class="row">${t.ended === null ? html`<button type="button" class="danger" @click="${() => this.cancel(t)}">Cancel</button>` : null}
        ${index ? command(`spare rerun ${t.id}`) : command(line(t))}</div>
      ${index ? null : again(t)}
      <section aria-labelledby="h-line"><h2 id="h-line">Replicas</h2>
        ${t.attempts.length === 0 ? html`<p class="faint">${t.ended === null ? "None yet." : "None was begun."}</p>` : html`${timeline(t, this.width)}${attempts(t)}`}
        ${this.offers.length > 0 && t.ended === null ? candidates(this.offers) : null}</section>
      ${disagreement(t)}
      <div class="cards">${facts(t)}${result(t)}</div>
      <section aria-labelledby="h-out"><h2 id="h-out">Output</h2>${this.log("stdout", t)}${this.log("stderr", t)}</section>`;
  }

  /** @param {"stdout"|"stderr"} name @param {Task} t */
  log(name, t) {
    const { text: said, more } = this.out[name];
    return html`<h3>${name}</h3>${said === "" ? html`<p class="faint">${t.ended === null ? "Nothing yet." : "Nothing."}</p>` :
      html`<pre tabindex="0" aria-label="${name}">${said}</pre>${more ? html`<p class="faint">The first ${bytes(mostOutput)}; all of it by ${command(`spare logs ${t.id}`)}</p>` : null}`}`;
  }

  /** @param {Task} t */
  cancel(t) {
    return this.attempt(async () => { this.task = await post(`/tasks/${encodeURIComponent(t.id)}/cancel`); });
  }
}
customElements.define("spare-task", OneTask);

/** The command that runs the same once more, given the program and its inputs. @param {Task} t */
export function line(t) {
  const { replicas = 1, quorum = 0, verify = "", where, on = "", labels = [] } = t.terms;
  const flags = [];
  if (where === "local" || where === "remote") {
    flags.push(`--${where}`);
  }
  labels.forEach((wish) => flags.push("--where", quoted(wish)));
  if (on) {
    flags.push("--on", quoted(on));
  }
  if (replicas > 1) {
    flags.push("--replicas", replicas);
  }
  if (quorum > 1) {
    flags.push("--quorum", quorum);
  }
  if (verify) {
    flags.push("--verify", verify);
  }
  t.env.forEach((e) => flags.push("--env", quoted(e)));
  if (t.limits.memory_bytes && t.limits.memory_bytes !== usual.memory_bytes) {
    flags.push("--mem", `${t.limits.memory_bytes / 1024}KiB`);
  }
  if (t.limits.wall_ms && t.limits.wall_ms !== usual.wall_ms) {
    flags.push("--timeout", `${t.limits.wall_ms}ms`);
  }
  if (t.limits.gas && t.limits.gas !== usual.gas) {
    flags.push("--gas", t.limits.gas);
  }
  if (t.seed) {
    flags.push("--seed", t.seed);
  }
  (t.inputs ?? []).slice(0, 3).forEach((f) => flags.push("-i", quoted(`${f.path.split("/").at(-1)}:${f.path}`)));
  if (t.stdin_bytes === 0) {
    flags.push("-n");
  }
  const args = t.args.slice(1).map(quoted);
  return ["spare run", ...flags, quoted(t.name), ...(args.length > 0 ? ["--", ...args] : []), ...(t.stdin_bytes > 0 ? ["< STDIN"] : [])].join(" ");
}

/** What the command cannot say. @param {Task} t */
const again = (t) => (t.stdin_bytes > 0 || (t.inputs ?? []).length > 0 ? html`<p class="hint">Run where the program and its ${
  t.stdin_bytes > 0 ? `stdin (${bytes(t.stdin_bytes)})` : ""}${t.stdin_bytes > 0 && (t.inputs ?? []).length > 0 ? " and " : ""}${(t.inputs ?? []).length > 0 ? `${whole((t.inputs ?? []).length)} inputs` : ""} are, this gives the same result.</p>` :
  html`<p class="hint">Run where the program is, this gives the same result.</p>`);

const failed = (/** @type {Attempt} */ a) => ["failed", "lost", "refused", "cancelled", "unreachable"].includes(a.state);

/**
 * What is known of the time of a replica, in ms since the task was submitted.
 * Of one that gave the result, the program's own time is known, and what was
 * before it was spent on bringing and starting it. Of one that came to nothing,
 * only the gas that its provider has told of shows that it ran.
 * @param {Task} t @param {Attempt} a @param {number} end
 */
export function phases(t, a, end) {
  const zero = Date.parse(t.submitted);
  const over = Math.max(0, (a.ended === null ? end : Date.parse(a.ended)) - zero);
  const from = a.started === null || a.state === "queued" ? over : Math.max(0, Date.parse(a.started) - zero);
  const to = Math.max(from, over);
  const queued = { kind: "queued", name: "queued", from: 0, to: from };
  if (from === over && a.state !== "done") {
    return [queued];
  }
  if (failed(a)) {
    return [queued, a.gas ? { kind: "lost", name: `${a.state}, had begun to run`, from, to } : { kind: "idle", name: `${a.state}, not seen to run`, from, to }];
  }
  if (a.state !== "done" || t.wall_ms === null) {
    return [queued, { kind: a.state === "fetching" || a.state === "compiling" ? "transfer" : "run", name: a.state, from, to }];
  }
  const run = Math.max(from, to - t.wall_ms);
  const parts = [queued, { kind: "transfer", name: "transfer and start", from, to: run }, { kind: "run", name: "run", from: run, to }];
  const recorded = t.ended === null ? to : Date.parse(t.ended) - zero;
  return recorded - to >= 1 ? [...parts, { kind: "verify", name: "verify and record", from: to, to: recorded }] : parts;
}

const heights = /** @type {Record<string, number>} */ ({ queued: 4, idle: 8, transfer: 18, run: 18, verify: 18, lost: 18 });

/** @param {Task} t @param {number} width */
function timeline(t, width) {
  const w = Math.max(280, width - 2);
  const end = t.ended === null ? now() : Date.parse(t.ended);
  const rows = t.attempts.map((a) => ({ a, parts: phases(t, a, end) }));
  const total = Math.max(1, end - Date.parse(t.submitted), ...rows.flatMap((r) => r.parts.map((p) => p.to)));
  const left = w < 520 ? 100 : 130;
  const x = (/** @type {number} */ at) => left + ((w - left - 14) * at) / total;
  const rowHeight = 30;
  const h = 30 + rowHeight * rows.length + 6;
  const ticks = Array.from({ length: w < 520 ? 3 : 6 }, (_, i, all = w < 520 ? 2 : 5) => (total * i) / all);
  return html`<figure><svg class="plot timeline" role="img" aria-label="${`When each replica was queued, brought, run and verified, over ${span(total)}; the table below has the same`}" width="${w}" height="${h}" viewBox="${`0 0 ${w} ${h}`}">
    <defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" class="hatch-ground"></rect><line x1="0" y1="0" x2="0" y2="7" class="hatch-line"></line></pattern></defs>
    ${ticks.map((at, i) => svg`<g><line class="grid minor" x1="${x(at)}" x2="${x(at)}" y1="22" y2="${h - 4}"></line><text class="tick" x="${x(at)}" y="14" text-anchor="${i === ticks.length - 1 ? "end" : i === 0 ? "start" : "middle"}">${at === 0 ? "0" : span(at)}</text></g>`)}
    ${rows.map(({ a, parts }, i) => svg`<g transform="${`translate(0 ${28 + i * rowHeight})`}"><text class="row-name" x="0" y="16">${a.attempt}. ${a.self ? "this node" : short(a.provider)}</text>
      ${parts.map((p) => svg`<rect class="${`phase ${p.kind}`}" x="${x(p.from)}" width="${Math.max(2, x(p.to) - x(p.from))}" y="${11 - heights[p.kind] / 2}" height="${heights[p.kind]}" rx="${Math.min(3, heights[p.kind] / 2)}"><title>${p.name}: ${span(p.to - p.from)}</title></rect>`)}</g>`)}
  </svg><ul class="legend"><li><i class="key queued"></i>queued</li><li><i class="key transfer"></i>transfer and start</li><li><i class="key run"></i>run</li><li><i class="key verify"></i>verify and record</li><li><i class="key lost"></i>ran for nothing</li><li><i class="key idle"></i>came to nothing, not seen to run</li></ul></figure>`;
}

/** @param {Task} t */
function attempts(t) {
  const end = t.ended === null ? now() : Date.parse(t.ended);
  const of = (/** @type {Attempt} */ a, /** @type {string} */ kind) => {
    const p = phases(t, a, end).find((q) => q.kind === kind);
    return p === undefined ? null : span(p.to - p.from);
  };
  const none = html`<span class="faint">—</span>`;
  const note = (/** @type {string} */ said) => html`<span class="note">${said}</span>`;
  const ran = (/** @type {Attempt} */ a) => {
    const [run, lost, idle] = ["run", "lost", "idle"].map((kind) => of(a, kind));
    return run ?? (lost ? note(`up to ${lost}`) : idle ? note(`none seen in ${idle}`) : failed(a) ? note("never started") : none);
  };
  return table("Replicas in the order of their begin", [
    { head: "#", number: true, cell: (a) => a.attempt },
    { head: "Provider", cell: (a) => (a.self ? "this node" : peerName(a.provider)) },
    { head: "State", cell: (a) => state(a.state) },
    { head: "Why there, and how it ended", cell: (a) => html`<span class="said">${a.reason}</span>` },
    { head: "Round trip", number: true, cell: (a) => (a.rtt_ms === null ? unknown() : ms(a.rtt_ms)) },
    { head: "Queued", number: true, cell: (a) => of(a, "queued") },
    { head: "Transfer", number: true, cell: (a) => of(a, "transfer") ?? none },
    { head: "Run", number: true, cell: ran },
    { head: "Gas", number: true, cell: (a) => (a.gas ? gas(a.gas) : none) },
    { head: "Result", cell: (a) => (a.result ? html`<span class="id" title="${a.result}">${a.result.slice(0, 8)}</span>` : none) },
  ], t.attempts, { key: (a) => String(a.attempt) });
}

/** Who has given which result, when they are not all the same. @param {Task} t */
function disagreement(t) {
  /** @type {Map<string, Attempt[]>} */
  const groups = new Map();
  for (const a of t.attempts) {
    if (a.result) {
      groups.set(a.result, [...(groups.get(a.result) ?? []), a]);
    }
  }
  const most = Math.max(...[...groups.values()].map((g) => g.length));
  return groups.size < 2 ? null : html`<section class="card alarm" aria-labelledby="h-differ"><h2 id="h-differ">The answers differ</h2>
    <p>Equal programs with equal inputs give equal results everywhere, so that somebody is wrong. ${t.ended === null ? "More are asked." : ""}</p>
    ${[...groups].map(([digest, g]) => html`<div class="group"><p><span class="id" title="${digest}">${digest.slice(0, 16)}</span> ${g.length === most && most > 1 ? state("most agree", "good") : state("alone", "bad")}</p>
      <p>${g.map((a) => html`<span class="member">${a.self ? "this node" : peerName(a.provider)} </span>`)}</p></div>`)}</section>`;
}

/** Who could run it now, and why not. @param {import("./types.js").Offer[]} offers */
function candidates(offers) {
  return html`<h3>Who could run it now</h3>${table("Who could run it now", [
    { head: "Provider", cell: (o) => (o.self ? "this node" : peerName(o.provider)) },
    { head: "Could", cell: (o) => (o.usable ? state("yes", "good") : state("no", "warn")) },
    { head: "Why", cell: (o) => html`<span class="said">${o.reason || "—"}</span>` },
    { head: "Load", number: true, cell: (o) => `${o.running + o.queued} of ${o.slots}` },
    { head: "Round trip", number: true, cell: (o) => (o.rtt_ms === null ? unknown() : ms(o.rtt_ms)) },
  ], offers, { key: (o) => o.provider })}`;
}

/** @param {Task} t */
function facts(t) {
  const { replicas = 1, quorum = 0, verify = "", on = "", labels = [] } = t.terms;
  return html`<section class="card" aria-labelledby="h-asked"><h2 id="h-asked">Asked for</h2><dl class="facts">
    <dt>Program</dt><dd class="said">${t.name} <span class="id faint brief" title="${t.module}">${t.module}</span></dd>
    <dt>Arguments</dt><dd class="id said">${t.args.length > 1 ? t.args.slice(1).map(quoted).join(" ") : html`<span class="faint">none</span>`}</dd>
    ${t.env.length > 0 ? html`<dt>Environment</dt><dd class="id said">${t.env.map((e) => html`<div>${e}</div>`)}</dd>` : null}
    <dt>stdin</dt><dd>${bytes(t.stdin_bytes)}</dd>
    ${(t.inputs ?? []).length > 0 ? html`<dt>Inputs</dt><dd class="said">${(t.inputs ?? []).slice(0, 20).map((f) => html`<div><span class="id">${f.path}</span> <span class="faint">${bytes(f.size)}</span></div>`)}</dd>` : null}
    <dt>Replicas</dt><dd>${replicas}${quorum > 1 ? `, of which ${quorum} must agree` : ""}${verify ? `, verified ${verify}` : ""}</dd>
    ${labels.length > 0 ? html`<dt>Only where</dt><dd class="id said">${labels.join(", ")}</dd>` : null}
    ${on ? html`<dt>Only on</dt><dd>${peerName(on)}</dd>` : null}
    <dt>Limits</dt><dd>${bytes(t.limits.memory_bytes ?? 0)}, ${span(t.limits.wall_ms ?? 0)}, ${gas(t.gas_limit)} gas</dd>
    <dt>Seed</dt><dd>${t.seed}</dd></dl></section>`;
}

/** @param {Task} t */
function result(t) {
  const files = t.files ?? [];
  return html`<section class="card" aria-labelledby="h-result"><h2 id="h-result">Result</h2><dl class="facts">
    <dt>Submitted</dt><dd>${clock(t.submitted)}, ${age(t.submitted)} ago</dd>
    <dt>Took</dt><dd>${t.ended === null ? html`${age(t.submitted)} so far` : span(Date.parse(t.ended) - Date.parse(t.submitted))}</dd>
    <dt>Exit</dt><dd>${t.exit_code === null ? html`<span class="faint">not yet</span>` : `${t.exit_code}, by the ${t.exit_source === "guest" ? "program" : "system"}`}</dd>
    <dt>Guest time</dt><dd>${t.wall_ms === null ? html`<span class="faint">—</span>` : span(t.wall_ms)}</dd>
    <dt>Gas</dt><dd>${t.gas === null ? html`<span class="faint">—</span>` : `${gas(t.gas)} of ${gas(t.gas_limit)}`}</dd>
    <dt>stdout</dt><dd>${bytes(t.stdout_bytes)}${t.stdout_digest ? html` <span class="id faint" title="${t.stdout_digest}">${t.stdout_digest.slice(0, 16)}</span>` : null}</dd>
    <dt>stderr</dt><dd>${bytes(t.stderr_bytes)}</dd>
    ${files.length > 0 ? html`<dt>Files</dt><dd class="said">${files.slice(0, 20).map((f) => html`<div><span class="id">${f.path}</span> <span class="faint">${bytes(f.size)}</span></div>`)}
      ${files.length > 20 ? html`<div class="faint">and ${whole(files.length - 20)} more</div>` : null}<div>${command(`spare get ${t.id} -O results`)}</div></dd>` : null}</dl></section>`;
}

