// The other members: how far they are, how busy, and what they give.

import { post } from "./client.js";
import { bytes, duration, gas, ms, percent, plural } from "./format.js";
import { html, keyed, svg } from "./html.js";
import { store } from "./store.js";
import { View, bar, command, empty, rove, short, state, table, unknown } from "./view.js";

/** @typedef {import("./types.js").Peer} Peer */

const loadOf = (/** @type {Peer} */ p) => (p.offer_age_ms === null || p.slots === 0 ? null : p.inflight / p.slots);

/** Text of the labels of a peer, which are a stranger's. @param {Peer} p */
export const labels = (p) => Object.entries(p.labels).map(([k, v]) => html`<span class="label said">${k}=${v}</span>`);

/** @type {import("./view.js").Column[]} */
const columns = [
  { head: "Peer", by: (p) => p.peer, cell: (p) => html`<a class="id" href="${`#/peers/${p.peer}`}" title="${p.peer}">${short(p.peer)}</a>${labels(p)}` },
  { head: "Connected", by: (p) => Number(!p.connected), cell: (p) => (p.connected ? state("yes", "good") : state("no", "rest")) },
  { head: "Round trip", number: true, by: (p) => p.rtt_ms, cell: (p) => (p.rtt_ms === null ? unknown() : ms(p.rtt_ms)) },
  { head: "Load", number: true, by: loadOf, cell: (p) => (loadOf(p) === null ? unknown() : html`<span class="load">${p.inflight} of ${p.slots}${bar(p.inflight, p.slots)}</span>`) },
  { head: "Speed", number: true, by: (p) => (p.offer_age_ms === null ? null : p.speed), cell: (p) => (p.offer_age_ms === null ? unknown() : p.speed.toFixed(2)) },
  { head: "Memory", number: true, by: (p) => (p.offer_age_ms === null ? null : p.memory_bytes), cell: (p) => (p.offer_age_ms === null ? unknown() : bytes(p.memory_bytes)) },
  { head: "Takes tasks", by: (p) => p.availability, cell: (p) => (p.offer_age_ms === null ? html`<span class="faint">no offer</span>` : state(p.availability)) },
  { head: "Trust", by: (p) => Number(p.trusted), cell: (p) => (p.trusted ? html`<span class="said lines" title="${p.trust}">${p.trust || "—"}</span>` : state("found wrong", "bad")) },
  { head: "Offer age", number: true, by: (p) => p.offer_age_ms, cell: (p) => (p.offer_age_ms === null ? unknown() : duration(p.offer_age_ms / 1000)) },
];

class Peers extends View {
  sort = { by: "Round trip", down: false };
  pinged = "";

  opened() {
    this.measure();
  }

  /** @param {string} by */
  sortBy(by) {
    this.sort = { by, down: this.sort.by === by && !this.sort.down };
    this.changed();
  }

  draw() {
    const all = Object.values(/** @type {import("./types.js").Snapshot} */ (store.snapshot).peers);
    const chosen = all.find((p) => p.peer === this.path);
    const s = /** @type {import("./types.js").Snapshot} */ (store.snapshot).status;
    if (all.length === 0) {
      return html`<h1>Peers</h1>${empty("No peer is known yet.", html`Start spare on another machine with this network's secret and
        ${command(`spare up --bootstrap ${s.addrs[0] ?? "ADDRESS"}`)} — it is here a moment later.`)}`;
    }
    const ready = all.filter((p) => p.connected && p.availability === "open").length;
    return html`<h1>Peers</h1><p class="lead">${plural(all.length, "peer")}, ${all.filter((p) => p.connected).length} connected, ${ready} open to tasks.</p>${this.complaint()}
      ${this.path === "" ? null : chosen ? this.detail(chosen) : html`<p class="complaint">The peer <span class="id">${this.path}</span> is not known now.</p>`}
      <figure><figcaption>Each peer by its round trip and load. The larger, the more tasks at once; <a href="#/peers" @click="${(/** @type {Event} */ e) => this.toTable(e)}">the same as a table</a>.</figcaption>
      ${scatter(all, this.width, this.path)}
      <ul class="legend"><li>${shape("open")}open</li><li>${shape("full")}full</li><li>${shape("paused")}paused</li><li>${shape("owner-busy")}owner busy</li><li>${shape("")}no offer</li></ul></figure>
      <div id="peer-table" tabindex="-1">${table("Peers", columns, all, { key: (p) => p.peer, sort: this.sort, onsort: (by) => this.sortBy(by), current: this.path })}</div>`;
  }

  /** @param {Event} event */
  toTable(event) {
    event.preventDefault();
    const at = /** @type {HTMLElement} */ (this.querySelector("#peer-table"));
    at.focus();
    at.scrollIntoView();
  }

  /** @param {Peer} p */
  detail(p) {
    return html`<section class="card detail" aria-label="One peer"><div class="row between"><h2 class="id">${p.peer}</h2><a href="#/peers" class="quiet" aria-label="Close the peer">Close</a></div>
      <dl class="facts"><dt>Runs</dt><dd class="said">${p.version || "unknown"} ${p.arch}</dd>
      <dt>Addresses</dt><dd class="id said">${p.addrs.length === 0 ? unknown() : p.addrs.map((a) => html`<div>${a}</div>`)}</dd>
      ${labels(p).length === 0 ? null : html`<dt>Labels</dt><dd>${labels(p)}</dd>`}
      <dt>Warm modules</dt><dd>${p.warm}</dd><dt>Run for it</dt><dd>${gas(p.served_gas)} gas</dd><dt>Run by it for you</dt><dd>${gas(p.received_gas)} gas</dd>
      <dt>Trust</dt><dd class="said">${p.trust || "nothing compared yet"}</dd></dl>
      <div class="row"><button type="button" @click="${() => this.ping(p)}">Measure the round trip</button>
      <button type="button" class="danger" @click="${() => this.block(p)}">Block</button><span role="status">${this.pinged}</span></div>
      <p class="hint">Block: nothing of it runs here, and none of your tasks go there. <a href="#/guests">Guests</a> lists who is blocked.</p></section>`;
  }

  /** @param {Peer} p */
  ping(p) {
    return this.attempt(async () => {
      this.pinged = "…";
      this.pinged = ms((await post(`/peers/${encodeURIComponent(p.peer)}/ping`)).rtt_ms);
    });
  }

  /** @param {Peer} p */
  block(p) {
    return this.attempt(async () => {
      await post("/access/block", { peer: p.peer });
      this.pinged = "blocked";
    });
  }
}
customElements.define("spare-peers", Peers);

/** What stands for a state of a peer, around 0,0, of a radius. @param {string} availability @param {number} r */
export function outline(availability, r) {
  switch (availability) {
    case "open":
      return `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
    case "full":
      return `M${-0.88 * r},${-0.88 * r}H${0.88 * r}V${0.88 * r}H${-0.88 * r}Z`;
    case "paused":
      return `M0,${-1.1 * r}L${1.1 * r},${0.85 * r}H${-1.1 * r}Z`;
    case "owner-busy":
      return `M0,${-1.2 * r}L${1.2 * r},0L0,${1.2 * r}L${-1.2 * r},0Z`;
    default:
      return `M${-r},${-r}L${r},${r}M${r},${-r}L${-r},${r}`;
  }
}

const kind = (/** @type {string} */ availability) => ({ open: "good", full: "warn", paused: "warn", "owner-busy": "warn" }[availability] ?? "rest");

const shape = (/** @type {string} */ availability) => html`<svg class="swatch" viewBox="-8 -8 16 16" aria-hidden="true"><path class="${`dot ${kind(availability)}`}" d="${outline(availability, 5)}"></path></svg>`;

export const radius = (/** @type {number} */ slots) => Math.min(22, 4 + 2.4 * Math.sqrt(Math.max(1, slots)));

/** The peer in words, for those who do not see the picture. @param {Peer} p */
export const spoken = (p) => `${short(p.peer)}, round trip ${p.rtt_ms === null ? "unknown" : ms(p.rtt_ms)}, ${
  p.offer_age_ms === null ? "no offer" : `${p.inflight} of ${p.slots} slots, ${p.availability}`}`;

/** @param {Peer[]} all @param {number} width @param {string} chosen */
function scatter(all, width, chosen) {
  const w = Math.max(280, width - 2);
  const h = w < 520 ? 260 : 340;
  const box = { left: 52, right: w - 78, top: 22, bottom: h - 44 };
  const known = all.filter((p) => p.rtt_ms !== null && p.rtt_ms > 0).map((p) => /** @type {number} */ (p.rtt_ms));
  const low = Math.floor(Math.log10(Math.min(...known, 10)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...known, 0.001))));
  const x = (/** @type {number|null} */ rtt) => (rtt === null ? box.right + 40 : box.left + 14 + ((box.right - box.left - 28) * (Math.log10(Math.max(rtt, 1e-3)) - low)) / (high - low));
  const top = Math.max(1, ...all.map((p) => loadOf(p) ?? 0));
  const y = (/** @type {number|null} */ load) => box.bottom - 14 - ((box.bottom - box.top - 28) * (load ?? 0)) / top;
  const ticks = [];
  for (let e = low; e <= high; e++) {
    for (const m of [1, 2, 5]) {
      if (m * 10 ** e <= 10 ** high) {
        ticks.push({ at: m * 10 ** e, main: m === 1 });
      }
    }
  }
  const step = top <= 1 ? 0.25 : top <= 4 ? 0.5 : Math.ceil(top / 4);
  const loads = Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
  const order = [...all].sort((a, b) => x(a.rtt_ms) - x(b.rtt_ms) || (a.peer < b.peer ? -1 : 1));
  const stop = order.some((p) => p.peer === chosen) ? chosen : order[0].peer;
  const places = apart(order.map((p) => ({ x: x(p.rtt_ms), y: y(loadOf(p)), r: radius(p.slots) })), box);
  return html`<svg class="plot" role="group" aria-label="Peers by round trip and load; arrow keys go from one to the next" width="${w}" height="${h}" viewBox="${`0 0 ${w} ${h}`}" @keydown="${rove}">
    <rect class="ground" x="${box.left}" y="${box.top}" width="${box.right - box.left}" height="${box.bottom - box.top}" rx="6"></rect>
    <rect class="ground" x="${box.right + 10}" y="${box.top}" width="60" height="${box.bottom - box.top}" rx="6"></rect>
    ${ticks.map((t) => svg`<g><line class="${t.main ? "grid" : "grid minor"}" x1="${x(t.at)}" x2="${x(t.at)}" y1="${box.top}" y2="${box.bottom}"></line>
      ${t.main || w > 620 ? svg`<text class="tick" x="${x(t.at)}" y="${box.bottom + 18}" text-anchor="middle">${Number(t.at.toPrecision(1))}</text>` : null}</g>`)}
    ${loads.map((l) => svg`<g><line class="grid minor" x1="${box.left}" x2="${box.right}" y1="${y(l)}" y2="${y(l)}"></line><text class="tick" x="${box.left - 8}" y="${y(l) + 4}" text-anchor="end">${percent(l)}</text></g>`)}
    <text class="axis" x="${(box.left + box.right) / 2}" y="${h - 6}" text-anchor="middle">round trip in ms</text>
    <text class="axis" x="${box.left - 44}" y="12">load</text>
    <text class="tick" x="${box.right + 40}" y="${box.bottom + 18}" text-anchor="middle">unknown</text>
    ${order.map((p, i) => keyed(p.peer, svg`<a class="${`mark${p.peer === chosen ? " current" : ""}`}" href="${`#/peers/${p.peer}`}" tabindex="${p.peer === stop ? 0 : -1}" aria-label="${spoken(p)}"
      transform="${`translate(${places[i].x.toFixed(1)} ${places[i].y.toFixed(1)})`}"><title>${spoken(p)}</title><path class="${`dot ${kind(p.availability)}${p.connected ? "" : " away"}`}" d="${outline(p.availability, radius(p.slots))}"></path></a>`))}
  </svg>`;
}

/**
 * Moves marks that cover each other sideways, by little, so that each is seen.
 * @param {Array<{x: number, y: number, r: number}>} marks @param {{left: number, right: number}} box
 */
function apart(marks, box) {
  if (marks.length > 300) {
    return marks;
  }
  for (let round = 0; round < 12; round++) {
    for (let i = 0; i < marks.length; i++) {
      for (let j = i + 1; j < marks.length; j++) {
        const [a, b] = [marks[i], marks[j]];
        const wanted = 0.9 * (a.r + b.r);
        const dx = b.x - a.x;
        const missing = Math.abs(b.y - a.y) < wanted ? wanted - Math.abs(dx) : 0;
        if (missing > 0 && a.x <= box.right && b.x <= box.right) {
          const move = (dx >= 0 ? 1 : -1) * missing * 0.25;
          a.x = Math.max(box.left + a.r, a.x - move);
          b.x = Math.min(box.right - b.r, b.x + move);
        }
      }
    }
  }
  return marks;
}
