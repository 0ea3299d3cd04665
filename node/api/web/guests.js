// Whose tasks run here, now and lately, and whose may.

import { get, post } from "./client.js";
import { slotTime, gas, plural, span, whole } from "./format.js";
import { html } from "./html.js";
import { View, age, command, empty, peerName, state, table } from "./view.js";

/** @typedef {import("./types.js").Guest} Guest @typedef {import("./types.js").Total} Total */

const dash = () => html`<span class="faint">—</span>`;

/** @type {import("./view.js").Column[]} */
const shared = [
  { head: "Requester", cell: (g) => peerName(g.requester) },
  { head: "Program", cell: (g) => html`<span class="said brief" title="${g.name}">${g.name || "unnamed"}</span>` },
  { head: "Task", cell: (g) => html`<span class="id">${g.task}</span>` },
];

class Guests extends View {
  /** @type {import("./types.js").Guests|null} */
  guests = null;
  /** @type {import("./types.js").Access|null} */
  access = null;
  /** @type {string[]} the cursors of the pages of totals up to this one */
  cursors = [""];

  opened() {
    this.every(2000, () => this.refresh());
  }

  async refresh() {
    const after = this.cursors.at(-1);
    [this.guests, this.access] = await Promise.all([get(`/guests?limit=25${after && `&after=${encodeURIComponent(after)}`}`), get("/access")]);
  }

  /** @param {"block"|"unblock"|"allow"|"disallow"} what @param {string} peer */
  order(what, peer) {
    return this.attempt(async () => {
      this.access = await post(`/access/${what}`, { peer });
      await this.refresh();
    });
  }

  /** @param {string} cursor empty: back */
  turn(cursor) {
    if (cursor === "") {
      this.cursors.pop();
    } else {
      this.cursors.push(cursor);
    }
    return this.attempt(() => this.refresh());
  }

  draw() {
    const { guests: g, access: a } = this;
    if (g === null || a === null) {
      return html`<h1>Guests</h1>${this.complaint() ?? html`<p class="loading">…</p>`}`;
    }
    return html`<h1>Guests</h1><p class="lead">${plural(g.now.length, "task")} of others here now. ${a.mode === "allowed" ? "Only allowed peers may run tasks here." : "All members may run tasks here, but for those you block."}</p>${this.complaint()}
      <section aria-labelledby="h-now"><h2 id="h-now">Now</h2>${g.now.length === 0 ? empty("Nothing of others is here now.", html`When a member's task is placed on this node, it stands here with whose it is. ${command("spare why")} says why this node is idle.`) :
        table("What is here now", [...shared,
          { head: "State", cell: (r) => state(r.state) },
          { head: "Here for", number: true, cell: (r) => age(r.since) },
          { head: "Ran for", number: true, cell: (r) => (r.wall_ms === null ? dash() : span(r.wall_ms)) },
          { head: "Gas", number: true, cell: (r) => gas(r.gas) },
        ], g.now, { key: (r) => `${r.requester} ${r.task} ${r.since}` })}</section>
      <section aria-labelledby="h-totals"><h2 id="h-totals">By requester</h2>${g.totals.length === 0 ? empty("Nobody has had anything run here yet.", "Each requester is listed here with what it has used, and can be blocked.") :
        html`${table("What each requester has had run here", [
          { head: "Requester", cell: (r) => peerName(r.requester) },
          { head: "Tasks", number: true, cell: (r) => whole(r.tasks) },
          { head: "Slot time", number: true, cell: (r) => slotTime(r.wall_ms).join(" ") },
          { head: "Gas", number: true, cell: (r) => gas(r.gas) },
          { head: "Last", number: true, cell: (r) => (r.last ? html`${age(r.last)} ago` : dash()) },
          { head: "May", cell: (r) => this.buttons(r) },
        ], g.totals, { key: (r) => r.requester })}
        ${this.cursors.length === 1 && !g.next ? null : html`<nav class="pager" aria-label="Pages of requesters"><button type="button" ?disabled="${this.cursors.length === 1}" @click="${() => this.turn("")}">Back</button>
          <span>page ${this.cursors.length}</span><button type="button" ?disabled="${!g.next}" @click="${() => this.turn(g.next)}">More</button></nav>`}`}</section>
      ${this.lists(a)}
      <section aria-labelledby="h-lately"><h2 id="h-lately">Lately</h2>${g.lately.length === 0 ? html`<p class="faint">Nothing of others has ended here yet.</p>` :
        table("What has ended here lately", [...shared,
          { head: "End", cell: (r) => (r.code ? state(r.code, "warn") : r.exit ? state(`exit ${r.exit}`, "warn") : state(r.state)) },
          { head: "Ended", number: true, cell: (r) => (r.ended ? html`${age(r.ended)} ago` : dash()) },
          { head: "Ran for", number: true, cell: (r) => (r.wall_ms === null ? dash() : span(r.wall_ms)) },
          { head: "Gas", number: true, cell: (r) => gas(r.gas) },
        ], g.lately, { key: (r) => `${r.requester} ${r.task} ${r.since} ${r.ended}` })}</section>`;
  }

  /** @param {Total} r */
  buttons(r) {
    return r.access === "blocked" ? html`${state("blocked", "bad")} <button type="button" class="small" aria-label="${`Unblock ${r.requester}`}" @click="${() => this.order("unblock", r.requester)}">Unblock</button>` :
      html`${r.access === "allowed" ? state("allowed", "good") : null} <button type="button" class="small danger" aria-label="${`Block ${r.requester}`}" @click="${() => this.order("block", r.requester)}">Block</button>`;
  }

  /** @param {import("./types.js").Access} a */
  lists(a) {
    return a.blocked.length + a.allowed.length === 0 ? null : html`<section aria-labelledby="h-access"><h2 id="h-access">Blocked and allowed</h2>
      ${table("Whose tasks may run here", [
        { head: "Peer", cell: (r) => peerName(r.peer) },
        { head: "Is", cell: (r) => (r.blocked ? state("blocked", "bad") : state("allowed", "good")) },
        { head: "Why", cell: (r) => html`<span class="said">${r.why || "—"}</span>` },
        { head: "Since", number: true, cell: (r) => html`${age(r.since)}` },
        { head: "", cell: (r) => html`<button type="button" class="small" aria-label="${`${r.blocked ? "Unblock" : "Allow no longer"} ${r.peer}`}" @click="${() => this.order(r.blocked ? "unblock" : "disallow", r.peer)}">${r.blocked ? "Unblock" : "Take back"}</button>` },
      ], [...a.blocked.map((b) => ({ ...b, blocked: true })), ...a.allowed.map((b) => ({ ...b, why: "", blocked: false }))], { key: (r) => `${r.blocked} ${r.peer}` })}</section>`;
  }
}
customElements.define("spare-guests", Guests);
