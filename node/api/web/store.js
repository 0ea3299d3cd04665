// What the page knows of the node, as the feed tells it. Views listen.

import { secret } from "./client.js";

/** @typedef {import("./types.js").Snapshot} Snapshot */

/** @type {Set<() => void>} */
const listeners = new Set();

/** @type {{
 *   snapshot: Snapshot|null, round: number, fresh: number, down: {why: string, status: number, at: number}|null,
 *   tasks: Map<string, import("./types.js").Task>, jobs: Map<string, import("./types.js").Job>, skew: number,
 * }} */
export const store = {
  snapshot: null,
  round: 0, // counts snapshots: lists that were asked for before are asked for again
  fresh: 0, // when the node was last heard of, in ms
  down: null,
  tasks: new Map(), // what events have told since the last snapshot, the latest last
  jobs: new Map(),
  skew: 0,
};

const mostTold = 2000; // tasks, and jobs, that are remembered from events

/** The time by the node's clock, in ms. */
export const now = () => Date.now() + store.skew;

/** Whether what is shown is old. */
export const stale = () => store.down !== null || Date.now() - store.fresh > 20_000;

/** @param {() => void} listener @returns {() => void} which ends it */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** @template T @param {Map<string, T>} map @param {string} id @param {T} value */
function note(map, id, value) {
  map.delete(id);
  map.set(id, value);
  if (map.size > mostTold) {
    map.delete(/** @type {string} */ (map.keys().next().value));
  }
}

/** @param {import("./feed.js").Told} told */
function take(told) {
  if (told.kind === "down") {
    store.down ??= told;
    store.down.why = told.why;
    store.down.status = told.status;
  } else {
    store.fresh = Math.max(store.fresh, told.at);
    store.down = null;
  }
  if (told.kind === "snapshot") {
    store.snapshot = told.data;
    store.skew = told.skew;
    store.round++;
    store.tasks.clear();
    store.jobs.clear();
  } else if (told.kind === "event" && store.snapshot !== null) {
    const { name, data } = told;
    if (name === "status" || name === "donation") {
      store.snapshot[name] = data;
    } else if (name === "peers") {
      for (const p of data.changed ?? []) {
        store.snapshot.peers[p.peer] = p;
      }
      for (const id of data.gone ?? []) {
        delete store.snapshot.peers[id];
      }
    } else if (name === "task") {
      note(store.tasks, data.id, data);
    } else if (name === "job") {
      note(store.jobs, data.id, data);
    }
  }
  listeners.forEach((listener) => listener());
}

/** What an answer to a change has told already. @param {Partial<Snapshot>} news */
export function known(news) {
  if (store.snapshot !== null) {
    Object.assign(store.snapshot, news);
    listeners.forEach((listener) => listener());
  }
}

// The page's policy lets no other worker be started where browsers know trusted types.
const feedPath = "/feed.js";
const feed = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("spare-feed", { createScriptURL: () => feedPath }).createScriptURL(feedPath) ?? feedPath;

/** Begins to follow the node. */
export function follow() {
  const worker = new SharedWorker(feed, { type: "module", name: "spare" });
  worker.port.onmessage = (message) => take(message.data);
  const say = (/** @type {import("./feed.js").Said["said"]} */ said) => worker.port.postMessage({ said, page: secret() });
  const tell = () => say(document.hidden ? "hidden" : "seen");
  document.addEventListener("visibilitychange", tell);
  addEventListener("pageshow", tell);
  addEventListener("pagehide", () => say("gone"));
  setInterval(tell, 15_000);
  tell();
}
