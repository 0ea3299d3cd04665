// The frame around the views: where in the page one is, how fresh it is, and
// what is wrong when it is not.

import { enter, explain } from "./client.js";
import { clock, duration } from "./format.js";
import { html, plain, render } from "./html.js";
import { follow, listen, stale, store } from "./store.js";
import "./guests.js";
import "./job.js";
import "./network.js";
import "./overview.js";
import "./peers.js";
import "./settings.js";
import "./task.js";
import "./tasks.js";
import { View, short } from "./view.js";

/** Where the address leads to nothing. */
class Nowhere extends View {
  alone = true;

  draw() {
    return html`<h1>No such page</h1><p>The address ends in <code class="said">${location.hash}</code>, which is none of this dashboard's. <a href="#/">Overview</a> is where it begins.</p>`;
  }
}
customElements.define("spare-nowhere", Nowhere);

/**
 * A view, or one of a thing whose ID follows in the address: those have a title
 * for it, and those without a name are of nothing else.
 * @typedef {{ at: string, name: string, tag: string, title?: (id: string) => string, count?: () => number, within?: string }} Place
 */

/** Views by the first word of the address, in the order of the menu. @type {Place[]} */
const views = [
  { at: "", name: "Overview", tag: "spare-overview" },
  { at: "peers", name: "Peers", tag: "spare-peers", title: (id) => `Peer ${short(id)}`, count: () => Object.keys(store.snapshot?.peers ?? {}).length },
  { at: "tasks", name: "Tasks", tag: "spare-tasks" },
  { at: "network", name: "Network", tag: "spare-network" },
  { at: "guests", name: "Guests", tag: "spare-guests", count: () => store.snapshot?.status.running ?? 0 },
  { at: "settings", name: "Settings", tag: "spare-settings" },
  { at: "task", name: "", tag: "spare-task", title: (id) => `Task ${id}`, within: "tasks" },
  { at: "job", name: "", tag: "spare-job", title: (id) => `Job ${id}`, within: "tasks" },
];
const nowhere = /** @type {Place} */ ({ at: "nowhere", name: "No such page", tag: "spare-nowhere" });

/** Element by id; the page has all that are asked for. */
const at = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

let refused = ""; // why the link opened nothing
let here = place();

/** The view that the address names, and of what. */
function place() {
  const [, first, rest = ""] = /^#\/([^/]*)(?:\/(.*))?$/.exec(location.hash || "#/") ?? [];
  try {
    const path = decodeURIComponent(rest);
    const view = views.find((v) => v.at === first && (path === "" ? v.name : v.title));
    return { view: view ?? nowhere, path };
  } catch { // it is no text
    return { view: nowhere, path: "" };
  }
}

/** Shows the view that the address names. */
function show() {
  here = place();
  const view = /** @type {View} */ (document.createElement(here.view.tag));
  view.path = here.path;
  const old = at("main").firstElementChild;
  at("main").replaceChildren(view);
  scrollTo(0, 0);
  if (old?.tagName.startsWith("SPARE-")) {
    at("main").focus({ preventScroll: true }); // so that what follows is read from its beginning
  }
  frame();
}

const themes = ["auto", "light", "dark"];

/** @param {string} theme */
function setTheme(theme) {
  if (theme === "auto") {
    localStorage.removeItem("theme");
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem("theme", theme);
    document.documentElement.dataset.theme = theme;
  }
  dispatchEvent(new Event("theme"));
  frame();
}

function frame() {
  const { snapshot, down, fresh } = store;
  const chosen = document.documentElement.dataset.theme ?? "auto";
  document.title = plain(`${here.view.title && here.path ? here.view.title(here.path) : here.view.name} · spare${snapshot ? ` ${snapshot.status.network}` : ""}`);
  render(html`${views.filter((v) => v.name !== "").map((v) => html`<a href="${`#/${v.at}`}"
    aria-current="${v === here.view ? "page" : v.at === here.view.within ? "true" : null}">${v.name}${v.count && snapshot ? html`<span class="count">${v.count()}</span>` : null}</a>`)}`, at("nav"));
  const seconds = Math.max(0, (Date.now() - fresh) / 1000);
  render(html`<p id="age" class="${stale() ? "old" : "live"}">${fresh === 0 ? "no data yet" : stale() ? `data is ${duration(seconds)} old` : `live, ${duration(seconds)} ago`}</p>
    <fieldset class="segments"><legend class="aside">Colours</legend>${themes.map((theme) => html`<label><input type="radio" name="theme" value="${theme}"
      .checked="${theme === chosen}" @change="${() => setTheme(theme)}"><span>${theme}</span></label>`)}</fieldset>`, at("foot"));
  document.body.classList.toggle("stale", snapshot !== null && stale());
  render(banner(down, fresh), at("banner"));
}

/** @param {typeof store.down} down @param {number} fresh */
function banner(down, fresh) {
  if (down === null && (fresh === 0 || !stale())) {
    return html``;
  }
  if (down?.status === 401) {
    return html`<p class="stale"><strong>This browser has no session with the node.</strong> ${refused ? `${refused}.` : "It was opened in another browser, or long ago, or the node has another token."}
      <code>spare dashboard</code> opens this page anew; this tab goes on by itself then.</p>`;
  }
  const asOf = fresh === 0 ? "" : `What is shown is as of ${clock(fresh)}. `;
  if (down !== null && down.status !== 0) {
    return html`<p class="stale"><strong>The node refuses this page.</strong> ${down.why}. ${asOf}</p>`;
  }
  return html`<p class="stale"><strong>${down === null ? "Nothing has come from the node for a while." : "The node does not answer."}</strong>
    ${asOf}<code>spare up</code> starts it; this page goes on by itself when it is back.</p>`;
}

async function run() {
  const theme = localStorage.getItem("theme") ?? "auto";
  if (themes.includes(theme)) {
    setTheme(theme);
  }
  try {
    await enter();
  } catch (error) {
    refused = explain(error);
  }
  listen(frame);
  setInterval(() => document.hidden || frame(), 1000);
  addEventListener("hashchange", () => {
    if (location.hash.startsWith("#code=")) { // a link is opened in a tab that is here already
      location.reload();
    } else {
      show();
    }
  });
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault(); // the address names the view
    at("main").focus();
  });
  show();
  follow();
}

run();
