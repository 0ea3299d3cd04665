// A shared worker: follows the node's events on behalf of all tabs that show
// this page, since browsers allow few connections to one place. It follows
// while one of them is to be seen.

import { Problem, explain, get, list, request, tellSecret } from "./client.js";

/**
 * What tabs are told: a snapshot of all that is followed, one event, that
 * something came, or that the node cannot be followed.
 * @typedef {{ kind: "snapshot", data: import("./types.js").Snapshot, at: number, skew: number }
 *  | { kind: "event", name: string, data: any, at: number }
 *  | { kind: "alive", at: number }
 *  | { kind: "down", why: string, status: number, at: number }} Told
 */

/**
 * What a tab says: how it is seen, and the page's secret.
 * @typedef {{ said: "seen"|"hidden"|"gone", page: string }} Said
 */

const silence = 25_000; // ms without even a heartbeat, after which the connection is given up
const hereFor = 45_000; // ms that a tab is taken to be there after it has said so

/** @type {Map<any, number>} ports of tabs that are to be seen, and until when that is believed */
const seen = new Map();
/** @type {Set<any>} */
const ports = new Set();
/** @type {import("./types.js").Snapshot|null} */
let snapshot = null;
let skew = 0; // ms that the node's clock is ahead
let lastID = "";
let boot = "";
/** @type {AbortController|null} */
let following = null;
let wake = () => {};

/** @param {Told} message */
function tell(message) {
  for (const port of ports) {
    port.postMessage(message);
  }
}

async function take() {
  const [status, peers, donation] = await Promise.all([get("/status"), list("/peers"), get("/donation")]);
  snapshot = { status, donation, peers: Object.fromEntries(peers.map((p) => [p.peer, p])), boot };
  tell({ kind: "snapshot", data: snapshot, at: Date.now(), skew });
}

/**
 * What comes of the connection, which is given up when nothing does for long.
 * @template T @param {Promise<T>} awaited
 */
async function inTime(awaited) {
  const late = setTimeout(() => following?.abort(), silence);
  try {
    return await awaited;
  } finally {
    clearTimeout(late);
  }
}

/** Events as the stream has them. @param {ReadableStream<Uint8Array>} body */
async function* events(body) {
  let rest = "";
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  for (;;) {
    const { done, value } = await inTime(reader.read());
    if (done) {
      return;
    }
    tell({ kind: "alive", at: Date.now() });
    const parts = (rest + value).split("\n\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const event = { id: "", name: "message", data: "" };
      for (const line of part.split("\n")) {
        const [, field, text] = /^(\w+):? ?(.*)$/.exec(line) ?? [];
        if (field === "id") {
          event.id = text;
        } else if (field === "event") {
          event.name = text;
        } else if (field === "data") {
          event.data += text;
        }
      }
      if (event.data !== "") {
        yield event;
      }
    }
  }
}

/** @param {string} name @param {any} data */
async function understand(name, data) {
  if (name === "hello") {
    skew = Date.parse(data.now) - Date.now();
    const same = data.boot === boot && snapshot !== null && lastID !== "";
    boot = data.boot;
    if (!same) {
      await take();
    }
    return;
  }
  if (name === "reset") {
    lastID = ""; // if this fails, the next connection begins anew
    await take();
    return;
  }
  if (snapshot === null) {
    return;
  }
  if (name === "status" || name === "donation") {
    snapshot[name] = data;
  } else if (name === "peers") {
    for (const p of data.changed ?? []) {
      snapshot.peers[p.peer] = p;
    }
    for (const id of data.gone ?? []) {
      delete snapshot.peers[id];
    }
  }
  tell({ kind: "event", name, data, at: Date.now() });
}

async function follow() {
  following = new AbortController();
  try {
    const answer = await inTime(request("/events", {
      headers: lastID === "" ? {} : { "Last-Event-ID": lastID }, signal: following.signal,
    }));
    if (answer.body === null) {
      return;
    }
    for await (const event of events(answer.body)) {
      await understand(event.name, JSON.parse(event.data));
      lastID = event.id || lastID;
    }
  } finally {
    following.abort();
    following = null;
  }
}

/** Whether a tab is to be seen. */
function watched() {
  for (const [port, until] of seen) {
    if (until < Date.now()) {
      seen.delete(port);
    }
  }
  return seen.size > 0;
}

async function run() {
  for (let failures = 0; ;) {
    if (!watched()) {
      await new Promise((resolve) => { wake = () => resolve(null); });
      continue;
    }
    const begun = Date.now();
    let why = "the node has ended";
    let status = 0;
    try {
      await follow();
    } catch (error) {
      why = explain(error);
      status = error instanceof Problem ? error.status : 0;
    }
    if (!watched()) {
      continue; // it was left on purpose
    }
    tell({ kind: "down", why, status, at: Date.now() });
    failures = Date.now() - begun > 10_000 ? 0 : failures + 1;
    await new Promise((resolve) => {
      wake = () => resolve(null);
      setTimeout(wake, Math.min(3000, 250 * 2 ** failures));
    });
  }
}

/** @param {any} port @param {Said} what */
function hear(port, { said, page }) {
  tellSecret(page);
  if (said === "seen") {
    const first = !seen.has(port);
    seen.set(port, Date.now() + hereFor);
    if (first) {
      wake();
    }
    return;
  }
  seen.delete(port);
  if (said === "gone") {
    ports.delete(port);
  }
  if (!watched()) {
    following?.abort();
  }
}

setInterval(() => {
  if (!watched()) {
    following?.abort();
  }
}, hereFor);

/** @type {any} */ (globalThis).onconnect = (/** @type {MessageEvent} */ { ports: [port] }) => {
  ports.add(port);
  port.onmessage = (message) => hear(port, message.data);
  if (snapshot !== null) {
    port.postMessage({ kind: "snapshot", data: snapshot, at: Date.now(), skew });
  }
};

run();
