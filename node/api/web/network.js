// A map of the network as round trips make it: near is quick.

import { ms, percent, plural } from "./format.js";
import { html, keyed, svg } from "./html.js";
import { store } from "./store.js";
import { outline, radius } from "./peers.js";
import { View, command, empty, peerName, rove, short, state, table, unknown } from "./view.js";

/** @typedef {import("./types.js").Peer} Peer @typedef {import("./types.js").Coordinate} Coordinate */

const mostDrawn = 200; // peers; with more, only the table
const mostNamed = 40; // of them, the nearest
const [letterWidth, lineHeight] = [8, 15]; // px of names, at most

/** What coordinates tell of the round trip between two, in ms. @param {Coordinate} a @param {Coordinate} b */
export const told = (a, b) => Math.hypot(a.x_ms - b.x_ms, a.y_ms - b.y_ms) + a.height_ms + b.height_ms;

class Network extends View {
  sort = { by: "Told by the map", down: false };

  opened() {
    this.measure();
  }

  draw() {
    const { status: s, peers } = /** @type {import("./types.js").Snapshot} */ (store.snapshot);
    const all = Object.values(peers);
    const own = s.coordinate ?? null;
    const placed = all.filter((p) => p.coordinate);
    const columns = [
      { head: "Peer", by: (/** @type {Peer} */ p) => p.peer, cell: (/** @type {Peer} */ p) => peerName(p.peer) },
      { head: "Takes tasks", by: (/** @type {Peer} */ p) => p.availability, cell: (/** @type {Peer} */ p) => (p.availability ? state(p.availability) : html`<span class="faint">no offer</span>`) },
      { head: "Round trip", number: true, by: (/** @type {Peer} */ p) => p.rtt_ms, cell: (/** @type {Peer} */ p) => (p.rtt_ms === null ? unknown() : ms(p.rtt_ms)) },
      { head: "Told by the map", number: true, by: (/** @type {Peer} */ p) => (own && p.coordinate ? told(own, p.coordinate) : null), cell: (/** @type {Peer} */ p) => (own && p.coordinate ? ms(told(own, p.coordinate)) : unknown()) },
      { head: "Place", number: true, cell: (/** @type {Peer} */ p) => (p.coordinate ? `${p.coordinate.x_ms.toFixed(2)}, ${p.coordinate.y_ms.toFixed(2)}` : unknown()) },
      { head: "Height", number: true, by: (/** @type {Peer} */ p) => p.coordinate?.height_ms ?? null, cell: (/** @type {Peer} */ p) => (p.coordinate ? ms(p.coordinate.height_ms) : unknown()) },
      { head: "Error", number: true, by: (/** @type {Peer} */ p) => p.coordinate?.error ?? null, cell: (/** @type {Peer} */ p) => (p.coordinate ? percent(p.coordinate.error) : unknown()) },
    ];
    return html`<h1>Network</h1>
      ${all.length === 0 ? empty("This node is alone.", html`Once there are peers, this is a map of them. ${command(`spare up --bootstrap ${s.addrs[0] ?? "ADDRESS"}`)} on another machine joins it here.`) :
        html`<p class="lead">${plural(placed.length + (own ? 1 : 0), "place")} known, of ${plural(all.length + 1, "node")}. Near is quick: each node reckons its place from round trips that it has measured; what others say of theirs is believed for this map only.</p>
        ${own === null || placed.length === 0 ? empty("No place is known yet.", "A place is reckoned from round trips, the first of which are measured when a peer connects.") :
          placed.length > mostDrawn ? html`<p class="faint">More than ${mostDrawn} peers are told apart better in the table.</p>` : html`<figure>
          <figcaption>Distance on the map and both heights make the round trip. A ring is how far a place may be off. Names without room are in the table alone.</figcaption>${map(own, placed, this.width)}</figure>`}
        ${table("Places of peers", columns, all, { key: (p) => p.peer, sort: this.sort, onsort: (by) => { this.sort = { by, down: this.sort.by === by && !this.sort.down }; this.changed(); } })}`}`;
  }
}
customElements.define("spare-network", Network);

/** The place in the middle of some. @param {number[]} list */
const middle = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;

/** How large a peer is drawn. @param {Peer} p */
const dot = (p) => Math.min(12, radius(p.slots));

/** @param {Coordinate} own @param {Peer[]} placed @param {number} width */
function map(own, placed, width) {
  const w = Math.max(280, width - 2);
  const h = Math.min(560, Math.max(320, 0.6 * w));
  const marks = placed.map((p) => {
    const c = /** @type {Coordinate} */ (p.coordinate);
    return { p, x: c.x_ms - own.x_ms, y: c.y_ms - own.y_ms, ring: c.error * told(own, c) };
  });
  const ownRing = own.error * middle(marks.map((m) => told(own, /** @type {Coordinate} */ (m.p.coordinate))));
  // One that is far off, or says so, must not shrink the others to a dot.
  const far = [...marks].map((m) => Math.hypot(m.x, m.y)).sort((a, b) => a - b);
  const spread = Math.min(far.at(-1) ?? 1, 4 * (middle(far) || far.at(-1) || 1));
  const extent = Math.max(1e-3, spread, 1.1 * middle(marks.map((m) => m.ring))); // rings are to be seen as well
  const scale = (Math.min(w, h) / 2 - 40) / extent;
  const at = (/** @type {number} */ v, /** @type {number} */ size) => Math.max(14, Math.min(size - 14, size / 2 + v * scale));
  const circles = [1, 2, 5, 10, 20, 50, 100, 200, 500].flatMap((m) => [m / 1000, m, m / 100]).filter((r) => r * scale > 36 && r * scale < Math.min(w, h) / 2 - 18).sort((a, b) => a - b);
  const shown = circles.filter((r, i) => i === 0 || r * scale - circles[i - 1] * scale > 30);
  const order = marks.sort((a, b) => Math.hypot(a.x, a.y) - Math.hypot(b.x, b.y));
  const names = labelled([{ x: w / 2, y: h / 2, r: 9, text: "this node" }, ...order.slice(0, mostNamed).map((m) => ({ x: at(m.x, w), y: at(m.y, h), r: dot(m.p), text: short(m.p.peer) }))],
    shown.map((r) => ({ x: w / 2, y: h / 2 - r * scale - 8, width: 56, height: lineHeight })), w, h);
  return html`<svg class="plot map" role="group" aria-label="Map of the network; arrow keys go from one peer to the next" width="${w}" height="${h}" viewBox="${`0 0 ${w} ${h}`}" @keydown="${rove}">
    <rect class="ground" width="${w}" height="${h}" rx="8"></rect>
    ${shown.map((r) => svg`<g><circle class="grid" cx="${w / 2}" cy="${h / 2}" r="${r * scale}"></circle><text class="tick" x="${w / 2}" y="${h / 2 - r * scale - 4}" text-anchor="middle">${Number(r.toPrecision(1))} ms</text></g>`)}
    ${order.map((m) => keyed(m.p.peer, svg`<circle class="error" cx="${at(m.x, w)}" cy="${at(m.y, h)}" r="${Math.min(w, Math.max(3, m.ring * scale))}"></circle>`))}
    <circle class="error own" cx="${w / 2}" cy="${h / 2}" r="${Math.min(w, Math.max(3, ownRing * scale))}"></circle>
    <g transform="${`translate(${w / 2} ${h / 2})`}"><path class="dot own" d="M0,-9L2.6,-2.6L9,0L2.6,2.6L0,9L-2.6,2.6L-9,0L-2.6,-2.6Z"></path></g>
    ${order.map((m, i) => keyed(m.p.peer, svg`<a class="mark" href="${`#/peers/${m.p.peer}`}" tabindex="${i === 0 ? 0 : -1}" aria-label="${`${short(m.p.peer)}, round trip ${m.p.rtt_ms === null ? "unknown" : ms(m.p.rtt_ms)}`}"
      transform="${`translate(${at(m.x, w).toFixed(1)} ${at(m.y, h).toFixed(1)})`}"><title>${`${short(m.p.peer)}, round trip ${m.p.rtt_ms === null ? "unknown" : ms(m.p.rtt_ms)}`}</title>
      <path class="${`dot ${{ open: "good", full: "warn", paused: "warn", "owner-busy": "warn" }[m.p.availability] ?? "rest"}`}" d="${outline(m.p.availability, dot(m.p))}"></path></a>`))}
    ${names.map((n) => svg`<text class="name" aria-hidden="true" x="${n.x.toFixed(1)}" y="${(n.y + 4).toFixed(1)}" text-anchor="middle">${n.text}</text>`)}
  </svg>`;
}

/** @typedef {{ x: number, y: number, width: number, height: number }} Box around its middle */

/** The area that two boxes share. @param {Box} a @param {Box} b */
const shared = (a, b) => Math.max(0, (a.width + b.width) / 2 - Math.abs(a.x - b.x)) * Math.max(0, (a.height + b.height) / 2 - Math.abs(a.y - b.y));

/**
 * Where names stand: each beside its node and within the picture, on the side
 * where it covers the least of nodes and of what else is written. One that could
 * not be read there is left out, but for the first.
 * @param {Array<{x: number, y: number, r: number, text: string}>} nodes the more important first
 * @param {Box[]} written @param {number} w @param {number} h
 */
function labelled(nodes, written, w, h) {
  const taken = [...written, ...nodes.map((n) => ({ x: n.x, y: n.y, width: 2 * n.r, height: 2 * n.r }))];
  return nodes.flatMap(({ x, y, r, text }, i) => {
    const width = letterWidth * text.length;
    const [aside, above] = [width / 2 + r + 4, lineHeight / 2 + r + 1];
    const sides = [[0, above], [0, -above], [aside, 0], [-aside, 0], [aside, above], [-aside, above], [aside, -above], [-aside, -above]].map(([dx, dy]) => {
      const box = {
        x: Math.max(width / 2 + 4, Math.min(w - width / 2 - 4, x + dx)), y: Math.max(lineHeight / 2 + 2, Math.min(h - lineHeight / 2 - 2, y + dy)),
        width, height: lineHeight, text,
      };
      return { box, covers: taken.reduce((sum, other) => sum + shared(box, other), 0) };
    });
    const { box, covers } = sides.reduce((best, one) => (one.covers < best.covers ? one : best));
    if (i > 0 && covers > width * lineHeight / 4) {
      return [];
    }
    taken.push(box);
    return [box];
  });
}
