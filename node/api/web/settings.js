// What the owner has decided about donating, who has said so, and how to change it.

import { list, post } from "./client.js";
import { html } from "./html.js";
import { known, store } from "./store.js";
import { View, command } from "./view.js";

/** @typedef {import("./types.js").Setting} Setting */

/** Names for people, examples of values, and what else is to be known. */
const rules = /** @type {Record<string, [string, string, string]>} */ ({
  "donate.cpu": ["CPU", "50%", "the share of all processors that tasks of others and your own may use"],
  "donate.slots": ["Tasks at once", "4", "how many programs run at the same time"],
  "limits.memory": ["Memory of a task", "2GiB", "the most that one program may use"],
  "donate.disk": ["Disk", "10GiB", "for programs, inputs, results and compiled code"],
  "donate.only-idle": ["Only when idle", "5m", "how long the machine must have been left alone, or no"],
  "donate.when": ["Schedule", "mon-fri 19:00-07:00, sat, sun", "when tasks of others may run"],
  "donate.on-battery": ["On battery", "pause", "pause or ignore"],
  "donate.on-hot": ["When it is hot", "pause", "pause or ignore"],
  "donate.net": ["Network", "10MB/s", "the most that is sent, and taken, each second, or all"],
});

class Settings extends View {
  /** @type {Setting[]} all that is decided when the node is started */
  others = [];
  editing = "";

  opened() {
    this.every(30_000, async () => {
      const donation = new Set(store.snapshot?.donation.rules.map((r) => r.key));
      this.others = /** @type {Setting[]} */ (await list("/settings")).filter((s) => !donation.has(s.key));
    });
  }

  /** @param {string} key @param {string} value empty: it is taken back */
  set(key, value) {
    return this.attempt(async () => {
      known({ donation: await post("/donation/rules", { rules: { [key]: value } }) });
      this.editing = "";
    });
  }

  /** @param {string} key */
  edit(key) {
    this.editing = key;
    this.problem = "";
    this.changed();
    requestAnimationFrame(() => requestAnimationFrame(() => /** @type {HTMLInputElement|null} */ (this.querySelector("input.value"))?.select()));
  }

  draw() {
    const { donation } = /** @type {import("./types.js").Snapshot} */ (store.snapshot);
    return html`<h1>Settings</h1><p class="lead">What this machine gives, and when. A change holds at once and is kept; <code>config.toml</code> is never written.</p>
      <section aria-labelledby="h-rules"><h2 id="h-rules">Donating</h2><ul class="rules">${donation.rules.map((r) => this.rule(r))}</ul></section>
      <section aria-labelledby="h-others"><h2 id="h-others">Said when the node is started</h2><p class="faint">By flags of <code>spare up</code> or in <code>config.toml</code>; ${command("spare config show --origin")} tells the same.</p>
        <ul class="rules fixed">${this.others.map((s) => html`<li><div class="what"><strong class="id">${s.key}</strong></div><div class="held"><span class="said">${s.value || "—"}</span></div><div class="origin">${origin(s)}</div></li>`)}</ul></section>`;
  }

  /** @param {Setting} r */
  rule(r) {
    const [name, example, about] = rules[r.key] ?? [r.key.replace(/^donate\./, "").replaceAll("-", " "), "", r.doc ?? ""];
    const editing = this.editing === r.key;
    const fixed = r.origin.startsWith("flag");
    return html`<li class="${editing && "editing"}"><div class="what"><strong>${name}</strong><span class="faint">${about}</span></div>
      ${editing ? html`<form class="held" @submit="${(/** @type {SubmitEvent} */ e) => this.submit(e, r.key)}"><input class="value" name="value" autocomplete="off" spellcheck="false" maxlength="1024" .value="${r.origin === "default" ? "" : r.value}" placeholder="${example}" aria-label="${name}"
          @keydown="${(/** @type {KeyboardEvent} */ e) => this.key(e)}">
          <div class="row"><button type="submit" class="primary">Save</button><button type="button" @click="${() => this.edit("")}">Leave it</button></div>
          ${this.complaint()}</form>` :
        html`<div class="held"><span class="value said">${r.value || "—"}</span><span class="faint said">${r.note}</span></div>`}
      <div class="origin">${origin(r)}${editing ? null : html`<span class="row">${fixed ? null : html`<button type="button" class="small" aria-label="${`Change ${name}`}" @click="${() => this.edit(r.key)}">Change</button>`}
        ${r.origin === "spare donate set" ? html`<button type="button" class="small" aria-label="${`Back to what else is said of ${name}`}" @click="${() => this.set(r.key, "")}">Take back</button>` : null}</span>`}</div></li>`;
  }

  /** @param {SubmitEvent} event @param {string} key */
  submit(event, key) {
    event.preventDefault();
    return this.set(key, String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get("value")).trim());
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Escape") {
      this.edit("");
    }
  }
}
customElements.define("spare-settings", Settings);

/** Who has said so. @param {Setting} s */
const origin = (s) => html`<span class="${`tag ${s.origin === "default" ? "" : "said-so"}`}">${s.origin}</span>`;
