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

const ms = (/** @type {number|null} */ value) => (value === null ? unknown() : text(`${value.toFixed(value < 10 ? 2 : 0)} ms`));

/** @param {number} bytes */
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (bytes >= 1024 && i < units.length - 1) {
    bytes /= 1024;
    i++;
  }
  return `${Number(bytes.toFixed(1))} ${units[i]}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) {
    return `${Math.max(0, Math.floor(seconds))} s`;
  }
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)} min`;
  }
  return seconds < 48 * 3600 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

const since = (/** @type {string} */ moment, /** @type {number} */ now) => duration((now - Date.parse(moment)) / 1000);

/**
 * @param {string[]} heads a head that begins with # is of numbers
 * @param {(Node|string)[][]} rows
 * @param {string} empty
 */
function table(heads, rows, empty) {
  if (rows.length === 0) {
    return element("p", { class: "faint" }, empty);
  }
  const style = heads.map((h) => (h.startsWith("#") ? { class: "number" } : {}));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((h, i) => element("th", { scope: "col", ...style[i] }, h.replace("#", ""))))),
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((c, i) => element("td", style[i], c))))));
}

/** @param {any} s @param {number} now */
export function node(s, now) {
  const facts = [
    ["Peer", element("span", { class: "id" }, plain(s.peer))],
    ["Network", text(s.network)],
    ["Takes tasks", text(`${s.donate.state}${s.donate.reason ? `: ${s.donate.reason}` : ""} (--donate ${s.donate.mode})`, s.donate.state === "open" ? "good" : "")],
    ["Running", text(`${s.running} of ${s.slots} slots, ${s.queued} waiting`)],
    ["Memory for a task", text(size(s.memory_bytes))],
    ["Speed", text(s.speed.toFixed(2))],
    ["Peers", text(`${s.peers_connected} connected, ${s.peers_known} with an offer`)],
    ["Stored", text(`${s.blobs.count} blobs, ${size(s.blobs.bytes)}`)],
    ["Up for", text(since(s.started, now))],
    ["Version", text(s.version)],
  ];
  const list = element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  if (s.refused.length === 0) {
    return list;
  }
  const refused = table(["Refused peer", "When", "Why"],
    s.refused.map((/** @type {any} */ r) => [peerName(r.peer), text(`${since(r.at, now)} ago`), text(`${r.code}: ${r.message}`, "bad")]), "");
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
      p.offer_age_ms === null ? unknown() : text(p.availability),
      p.offer_age_ms === null ? text("no offer", "faint") : text(duration(p.offer_age_ms / 1000)),
    ]),
    "No peer is known yet. Start another node with 'spare up --bootstrap ADDRESS'; the address is in 'spare status'.");
}

/** @param {any} t */
function outcome(t) {
  if (t.exit_code === null) {
    return element("span", {}, text(t.state), " ", text(t.reason, "faint"));
  }
  const end = text(t.exit_code === 0 ? t.state : `${t.state}, exit ${t.exit_code}`, t.exit_code === 0 ? "good" : "bad");
  const why = t.error ? `${t.error.code}: ${t.error.message}` : t.reason;
  return element("span", {}, end, " ", text(why, "faint"));
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
  return table(["Task", "Program", "State", "#Age", "#Guest time", "Attempts"],
    list.map((t) => [
      element("span", { class: "id" }, plain(t.id)),
      text(t.name),
      outcome(t),
      text(since(t.submitted, now)),
      t.wall_ms === null ? text("") : ms(t.wall_ms),
      attempts(t),
    ]),
    "No task yet. Try 'spare run prog.wasm'.");
}
