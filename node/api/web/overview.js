// What this node gives and takes, and why.

import { get, post } from "./client.js";
import { bytes, slotTime, day, gas, plural, readBytes, whole } from "./format.js";
import { html } from "./html.js";
import { known, store } from "./store.js";
import { View, age, bar, command, empty, left, peerName, state, table } from "./view.js";

const pauses = [["until I resume", 0], ["for 30 minutes", 30], ["for 2 hours", 120], ["for 8 hours", 480], ["for 24 hours", 1440]];

const heads = /** @type {Record<string, string>} */ ({
  open: "Open to others", full: "Full", paused: "Paused", "owner-busy": "You need this machine",
});

class Overview extends View {
  /** @type {import("./types.js").Guests["donated"]|null} */
  donated = null;

  opened() {
    this.every(10_000, async () => { this.donated = (await get("/guests?limit=1")).donated; });
  }

  /** @param {boolean} finish */
  pause(finish) {
    const minutes = Number(/** @type {HTMLSelectElement} */ (this.querySelector("#pause-for")).value);
    return this.attempt(async () => {
      await post("/donation/pause", { for_ms: minutes * 60_000, finish });
      await this.learn();
    });
  }

  resume() {
    return this.attempt(async () => {
      await post("/donation/resume");
      await this.learn();
    });
  }

  async learn() {
    const [status, donation] = await Promise.all([get("/status"), get("/donation")]);
    known({ status, donation });
  }

  draw() {
    const { status: s, donation: d } = /** @type {import("./types.js").Snapshot} */ (store.snapshot);
    const paused = d.state === "paused";
    return html`<h1>Overview</h1>${this.complaint()}
    <section class="${`hero ${s.donate.state}`}" aria-label="Whether this node takes tasks of others">
      <div class="now">
        <p class="${`headline state ${s.donate.state === "open" ? "good" : "warn"}`}"><span class="big">${heads[s.donate.state] ?? s.donate.state}</span></p>
        <p class="reason said">${s.donate.reason}${s.donate.until ? html`, for ${left(s.donate.until)} more` : null}</p>
        <p class="faint">${s.donate.mode === "idle" ? "It donates while this machine is idle." : "It donates whatever else this machine does."}
          <a href="#/settings">The rules</a></p>
      </div>
      <form class="controls" @submit="${(/** @type {Event} */ e) => e.preventDefault()}">
        ${paused ? html`<button type="button" class="primary" @click="${() => this.resume()}">Resume</button>` : null}
        <label>Pause <select id="pause-for">${pauses.map(([name, minutes]) => html`<option value="${minutes}">${name}</option>`)}</select></label>
        <div class="row"><button type="button" class="${paused ? "" : "primary"}" @click="${() => this.pause(false)}">Pause now</button>
        <button type="button" @click="${() => this.pause(true)}">Finish, then pause</button></div>
        <p class="hint">Now hands what runs here to other peers, within milliseconds. Finish lets it end first. Your own tasks go on.</p>
      </form>
    </section>
    <div class="cards">
      ${this.given(s, d)}
      ${limits(s, d)}
      ${exchange(s)}
    </div>
    <div class="cards wide">
      ${asked(d)}
      ${confinement(s)}
      ${facts(s)}
    </div>
    ${refusals(s)}`;
  }

  /** @param {import("./types.js").Status} s @param {import("./types.js").Donation} d */
  given(s, d) {
    const given = this.donated;
    const [amount, unit] = slotTime(given?.slot_ms ?? 0);
    return html`<section class="card" aria-labelledby="h-given"><h2 id="h-given">Donated</h2>
      ${given === null ? html`<p class="figure faint">…</p>` : html`<p class="figure">${amount}<small>${unit}</small></p>
        <p class="faint">${given.tasks === 0 ? "nothing has run here for others yet" : `${plural(given.tasks, "task")} of others since ${day(given.since)}`}</p>`}
      <dl><dt>running for others and you</dt><dd>${whole(s.running)}</dd><dt>waiting here</dt><dd>${whole(s.queued)}</dd>
      <dt>taken since the start</dt><dd>${whole(d.asked.taken)}</dd></dl></section>`;
  }
}
customElements.define("spare-overview", Overview);

/** @param {import("./types.js").Status} s @param {import("./types.js").Donation} d */
function limits(s, d) {
  const rule = (/** @type {string} */ key) => d.rules.find((r) => r.key === key)?.value ?? "";
  const disk = readBytes(rule("donate.disk")) ?? 0;
  const stored = s.blobs.bytes + s.sandbox.cache_bytes;
  const memory = s.slots * s.memory_bytes;
  const rows = [
    { name: "Tasks at once", part: s.running, of: s.slots, text: `${s.running} of ${s.slots}` },
    { name: "Memory", part: s.sandbox.memory_bytes, of: memory, text: `${bytes(s.sandbox.memory_bytes)} of ${bytes(memory)}` },
    { name: "Disk", part: stored, of: disk, text: `${bytes(stored)}${disk ? ` of ${bytes(disk)}` : ""}` },
  ];
  return html`<section class="card" aria-labelledby="h-limits"><h2 id="h-limits">Now, against the limit</h2>
    <dl class="meters">${rows.map((r) => html`<div><dt>${r.name}</dt><dd>${r.text}</dd><dd>${bar(r.part, r.of)}</dd></div>`)}</dl>
    <p class="faint">CPU: ${rule("donate.cpu") || "all"}, at the lowest priority</p></section>`;
}

/** @param {import("./types.js").Status} s */
function exchange(s) {
  const most = Math.max(s.served_gas, s.received_gas, 1);
  const rows = [["Run here for others", s.served_gas], ["Run by others for you", s.received_gas]];
  return html`<section class="card" aria-labelledby="h-gas"><h2 id="h-gas">Given and received</h2>
    <dl class="meters">${rows.map(([name, amount]) => html`<div><dt>${name}</dt><dd>${gas(Number(amount))}</dd><dd>${bar(Number(amount), most * 1.0001)}</dd></div>`)}</dl>
    <p class="faint">Gas, by receipts that both sides have signed</p></section>`;
}

/** @param {import("./types.js").Donation} d */
function asked(d) {
  const { taken, refused, handed_over: over, last_refusal: last } = d.asked;
  return html`<section class="card" aria-labelledby="h-asked"><h2 id="h-asked">What others have asked</h2>
    ${taken + refused === 0 ? empty("Nobody has asked since the start.", html`A requester asks near and idle peers first. ${command("spare why")} says why this node is idle.`) :
      html`<dl><dt>taken</dt><dd>${whole(taken)}</dd><dt>refused</dt><dd>${whole(refused)}</dd><dt>handed over to others</dt><dd>${whole(over)}</dd></dl>
      ${last ? html`<p class="faint">Last refusal, ${age(last.at)} ago to ${peerName(last.peer)}: <span class="said">${last.message}</span></p>` : null}`}</section>`;
}

/** @param {import("./types.js").Status} s */
function confinement(s) {
  const { layers, workers, busy } = s.sandbox;
  const open = layers.filter((l) => !l.in_force);
  return html`<section class="card" aria-labelledby="h-box"><h2 id="h-box">Sandbox</h2>
    <p>${open.some((l) => l.required) ? state(`${layers.length - open.length} of ${layers.length} layers`, "bad") : state(`${layers.length - open.length} of ${layers.length} layers in force`, "good")}</p>
    ${open.length === 0 ? null : html`<ul class="plain">${open.map((l) => html`<li><strong>${l.name}</strong>: ${l.does}. <span class="faint said">${l.why}</span></li>`)}</ul>`}
    <p class="faint">${plural(workers, "worker")}, ${busy} busy. ${command("spare doctor")} tries to break out.</p></section>`;
}

/** @param {import("./types.js").Status} s */
function facts(s) {
  return html`<section class="card" aria-labelledby="h-node"><h2 id="h-node">This node</h2>
    <dl class="facts"><dt>Peer</dt><dd class="id">${s.peer}</dd><dt>Network</dt><dd>${s.network}</dd>
    <dt>Peers</dt><dd>${s.peers_connected} connected, ${s.peers_known} with an offer</dd>
    <dt>Speed</dt><dd>${s.speed.toFixed(2)} <span class="faint">of the reference machine</span></dd>
    ${labels(s.labels)}
    <dt>Up for</dt><dd>${age(s.started)}</dd><dt>Version</dt><dd>${s.version}</dd><dt>Home</dt><dd class="id">${s.home}</dd></dl></section>`;
}

/** @param {Record<string, string>} all */
const labels = (all) => (Object.keys(all).length === 0 ? null : html`<dt>Labels</dt><dd>${Object.entries(all).map(([k, v]) => html`<span class="label said">${k}=${v}</span>`)}</dd>`);

/** @param {import("./types.js").Status} s */
function refusals(s) {
  return s.refused.length === 0 ? null : html`<section aria-labelledby="h-refused"><h2 id="h-refused">Peers that could not join</h2>
    ${table("Peers that could not join", [
      { head: "Peer", cell: (r) => html`<span class="id" title="${r.peer}">${r.peer.slice(0, 16)}</span>` },
      { head: "When", cell: (r) => html`${age(r.at)} ago` },
      { head: "Why", cell: (r) => html`<span class="said">${r.message}</span> <span class="faint">${r.code}</span>` },
    ], s.refused, { key: (r) => r.peer + r.at })}</section>`;
}
