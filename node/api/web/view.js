// Turns data into elements. Text only ever becomes text nodes, so that no name
// or reason of a stranger is read as markup.

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node|string)} children
 */
function element(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

/** Control and formatting characters of strangers would reorder our text. */
const plain = (/** @type {unknown} */ text) => String(text ?? "").replace(/[\p{Cc}\p{Cf}]/gu, " ");

const text = (/** @type {unknown} */ value, style = "") => element("span", style ? { class: style } : {}, plain(value));

const peerName = (/** @type {string} */ id) => element("span", { class: "id", title: plain(id) }, plain(id).slice(0, 16));

const unknown = () => text("unknown", "faint");

const ms = (/** @type {number|null} */ value) => (value === null ? unknown() : text(figure(value.toFixed(value < 10 ? 2 : 0), "ms")));

/** A number and its unit stay on one line. */
const figure = (/** @type {number|string} */ value, /** @type {string} */ unit) => `${value}\u00a0${unit}`;

/** @param {number} bytes */
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (bytes >= 1024 && i < units.length - 1) {
    bytes /= 1024;
    i++;
  }
  return figure(Number(bytes.toFixed(1)), units[i]);
}

/** An amount of gas. @param {number} gas */
function amount(gas) {
  const units = ["", "K", "M", "G", "T", "P", "E"];
  let i = 0;
  while (gas >= 1000 && i < units.length - 1) {
    gas /= 1000;
    i++;
  }
  return figure(Number(gas.toFixed(2)), units[i]).trim();
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) {
    return figure(Math.max(0, Math.floor(seconds)), "s");
  }
  if (seconds < 3600) {
    return figure(Math.floor(seconds / 60), "min");
  }
  return seconds < 48 * 3600 ? figure(Math.floor(seconds / 3600), "h") : figure(Math.floor(seconds / 86400), "days");
}

const since = (/** @type {string} */ moment, /** @type {number} */ now) => duration((now - Date.parse(moment)) / 1000);

/** What a peer says about taking tasks, in words and a colour. */
const takes = (/** @type {string} */ state) => ({
  open: text("yes", "good"),
  full: text("no, it is full", "warn"),
  paused: text("no, it is paused", "warn"),
  "owner-busy": text("no, its owner is busy", "warn"),
}[state] ?? text(state));

/**
 * A table whose cells also carry their heads, for screens too narrow for it.
 * @param {string[]} heads a head that begins with # is of numbers
 * @param {(Node|string)[][]} rows
 * @param {string} empty
 */
function table(heads, rows, empty) {
  if (rows.length === 0) {
    return element("p", { class: "faint" }, empty);
  }
  const names = heads.map((h) => h.replace("#", ""));
  const style = heads.map((h) => (h.startsWith("#") ? { class: "number" } : {}));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...names.map((name, i) => element("th", { scope: "col", ...style[i] }, name)))),
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((c, i) => element("td", { "data-head": names[i], ...style[i] }, c))))));
}

/** How many layers hold, and by name those that do not. @param {any[]} list */
function layers(list) {
  const open = list.filter((l) => !l.in_force);
  const said = text(`${list.length - open.length} of ${list.length} layers in force`, open.some((l) => l.required) ? "bad" : "");
  return open.length === 0 ? said : element("span", {}, said, text(`, without ${open.map((l) => l.name).join(", ")}`, "faint"));
}

/** @param {any} s @param {number} now */
export function node(s, now) {
  const facts = [
    ["Peer", element("span", { class: "id" }, plain(s.peer))],
    ["Network", text(s.network)],
    ["Takes tasks", element("span", {}, takes(s.donate.state), text(`: ${s.donate.reason} (--donate ${s.donate.mode})`, "faint"),
      text(s.donate.until === null ? "" : `, for ${duration((Date.parse(s.donate.until) - now) / 1000)} more`))],
    ["Running", text(`${s.running} of ${s.slots} slots, ${s.queued} waiting`)],
    ["Memory for a task", text(size(s.memory_bytes))],
    ["Speed", text(s.speed.toFixed(2))],
    ["Peers", text(`${s.peers_connected} connected, ${s.peers_known} with an offer`)],
    ["Workers", text(`${s.sandbox.workers}, ${s.sandbox.busy} busy, ${size(s.sandbox.memory_bytes)}`)],
    ["Sandbox", layers(s.sandbox.layers)],
    ["Stored", text(`${s.blobs.count} blobs, ${size(s.blobs.bytes)}`)],
    ["Up for", text(since(s.started, now))],
    ["Version", text(s.version)],
  ];
  const list = element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  if (s.refused.length === 0) {
    return list;
  }
  const refused = table(["Refused peer", "When", "Why"],
    s.refused.map((/** @type {any} */ r) => [peerName(r.peer), text(`${since(r.at, now)}\u00a0ago`), text(`${r.code}: ${r.message}`, "bad")]), "");
  return element("div", {}, list, refused);
}

/** @param {any[]} list */
export function peers(list) {
  const order = [...list].sort((a, b) => (a.rtt_ms ?? Infinity) - (b.rtt_ms ?? Infinity) || (a.peer < b.peer ? -1 : 1));
  return table(["Peer", "Link", "#Round trip", "#Load", "#Speed", "#Memory", "Takes tasks", "#Offer age"],
    order.map((p) => [
      peerName(p.peer),
      p.connected ? text("connected", "good") : text("not connected", "faint"),
      ms(p.rtt_ms),
      p.offer_age_ms === null ? unknown() : text(`${p.inflight} of ${p.slots}`),
      p.offer_age_ms === null ? unknown() : text(p.speed.toFixed(2)),
      p.offer_age_ms === null ? unknown() : text(size(p.memory_bytes)),
      p.offer_age_ms === null ? unknown() : takes(p.availability),
      p.offer_age_ms === null ? text("no offer", "faint") : text(duration(p.offer_age_ms / 1000)),
    ]),
    "No peer is known yet. Start another node with 'spare up --bootstrap ADDRESS'; the address is in 'spare status'.");
}

/** @param {any} t */
function outcome(t) {
  if (t.exit_code === null) {
    return element("span", {}, text(t.state), " ", text(t.reason, "faint"));
  }
  if (t.state === "cancelled") {
    return text(t.state, "faint");
  }
  if (t.error) {
    return element("span", {}, text(`${t.state}, ${t.error.code}`, "bad"), " ", text(t.error.message, "faint"));
  }
  // A program may end as it likes: that is not a failure of spare's.
  const end = t.exit_code === 0 ? text(t.state, "good") : text(`${t.state}, exit ${t.exit_code}`, "warn");
  return element("span", {}, end, " ", text(t.reason, "faint"));
}

/** @param {any} t */
function attempts(t) {
  if (t.attempts.length === 0) {
    return text(t.exit_code === null ? "none yet" : "none", "faint");
  }
  return element("ol", {}, ...t.attempts.map((/** @type {any} */ a) => element("li", { value: String(a.attempt) },
    peerName(a.provider), " ", text(a.state, a.state === "done" ? "good" : ["lost", "refused"].includes(a.state) ? "bad" : ""),
    " ", ms(a.rtt_ms), " ", text(a.reason, "faint"))));
}

/** @param {any[]} list @param {number} now */
export function tasks(list, now) {
  return table(["Task", "Program", "State", "#Age", "#Guest time", "#Gas", "Attempts"],
    list.map((t) => [
      element("span", { class: "id" }, plain(t.id)),
      text(t.name),
      outcome(t),
      text(since(t.submitted, now)),
      t.wall_ms === null ? text("") : ms(t.wall_ms),
      t.gas === null ? text("") : text(amount(t.gas)),
      attempts(t),
    ]),
    "No task yet. Try 'spare run prog.wasm'.");
}
