// Numbers and times as people read them. A number and its unit stay on one line.

const nb = "\u00a0";

/** @param {number} x @param {string[]} units @param {number} base */
function scaled(x, units, base) {
  let i = 0;
  while (Math.abs(x) >= base && i < units.length - 1) {
    x /= base;
    i++;
  }
  return `${digits(x)}${nb}${units[i]}`.trim();
}

/** About three digits that matter. @param {number} x */
export function digits(x) {
  const size = Math.abs(x);
  return size >= 100 || Number.isInteger(x) ? Math.round(x).toLocaleString("en") : x.toFixed(size >= 10 ? 1 : 2);
}

export const whole = (/** @type {number} */ n) => Math.round(n).toLocaleString("en");
export const bytes = (/** @type {number} */ n) => scaled(n, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024);
export const gas = (/** @type {number} */ n) => scaled(n, ["", "K", "M", "G", "T", "P", "E"], 1000);
export const ms = (/** @type {number} */ n) => `${Number.isInteger(n) ? whole(n) : n < 10 ? n.toFixed(2) : n < 100 ? n.toFixed(1) : whole(n)}${nb}ms`;
export const percent = (/** @type {number} */ part) => `${digits(100 * part)}${nb}%`;
export const plural = (/** @type {number} */ n, /** @type {string} */ word, many = `${word}s`) => `${whole(n)}${nb}${n === 1 ? word : many}`;

/** A length of time that was measured. @param {number} millis */
export function span(millis) {
  if (millis < 1000) {
    return ms(millis);
  }
  if (millis < 60_000) {
    return `${(millis / 1000).toFixed(millis < 10_000 ? 2 : 1)}${nb}s`;
  }
  const seconds = Math.round(millis / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${whole(h)}${nb}h${m > 0 ? ` ${m}${nb}min` : ""}` : `${m}${nb}min${s > 0 ? ` ${s}${nb}s` : ""}`;
}

/** A length of time that goes on. @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) {
    return `${s}${nb}s`;
  }
  if (s < 3600) {
    return `${Math.floor(s / 60)}${nb}min`;
  }
  return s < 48 * 3600 ? `${Math.floor(s / 3600)}${nb}h` : `${Math.floor(s / 86400)}${nb}days`;
}

/** The size that words such as "14 GiB" tell, or null. @param {string} text */
export function readBytes(text) {
  const m = /^([\d.]+)\s*(B|[KMGTP]i?B)$/i.exec(text.trim());
  if (m === null) {
    return null;
  }
  const unit = m[2].toUpperCase();
  return Number(m[1]) * (unit.includes("I") ? 1024 : 1000) ** "BKMGTP".indexOf(unit[0]);
}

/** @param {string|number} moment */
export const clock = (moment) => new Date(moment).toLocaleTimeString("en-GB");

/** @param {string} moment */
export const day = (moment) => new Date(moment).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** A word of a command line. @param {string} word */
export const quoted = (word) => (/^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
