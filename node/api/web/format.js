// Numbers and times, written as the command line writes them, but for digits in
// groups. A number and its unit stay on one line.

const nb = "\u00a0";

/** @param {number} x @param {string[]} units @param {number} base @param {(x: number, unit: number) => string} write */
function scaled(x, units, base, write) {
  let i = 0;
  while (x >= base && i < units.length - 1) {
    x /= base;
    i++;
  }
  return `${write(x, i)}${nb}${units[i]}`.trim();
}

export const whole = (/** @type {number} */ n) => Math.round(n).toLocaleString("en");
export const bytes = (/** @type {number} */ n) => scaled(n, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024, (x) => (x < 10 ? String(Math.floor(10 * x) / 10) : whole(Math.floor(x))));
export const gas = (/** @type {number} */ n) => scaled(n, ["", "K", "M", "G", "T", "P", "E"], 1000, (x) => String(Number(x.toFixed(9).slice(0, -7))));
export const ms = (/** @type {number} */ n) => `${n < 99.995 && !Number.isInteger(n) ? n.toFixed(2) : whole(n)}${nb}ms`;
export const percent = (/** @type {number} */ part) => `${whole(100 * part)}%`;
export const plural = (/** @type {number} */ n, /** @type {string} */ word, many = `${word}s`) => `${whole(n)}${nb}${n === 1 ? word : many}`;

/** A length of time that was measured. @param {number} millis */
export function span(millis) {
  if (millis < 10_000) {
    return ms(millis);
  }
  if (millis < 59_950) {
    return `${(millis / 1000).toFixed(1)}${nb}s`;
  }
  const seconds = Math.round(millis / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return terse(`${h}h${m}m${s}s`);
}

/** A length of time as Go writes it, without the parts that are 0. @param {string} text */
const terse = (text) => text.replace(/^0h/, "").replace(/(?<=[hm])0s$/, "").replace(/(?<=h)0m$/, "");

/** A length of time that goes on. @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) {
    return `${s}s`;
  }
  if (s < 3600) {
    return `${Math.floor(s / 60)}m`;
  }
  return s < 48 * 3600 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
}

/** The time of one slot, as a number and its unit. @param {number} millis @returns {[string, string]} */
export function slotTime(millis) {
  const seconds = millis / 1000;
  const [per, unit] = seconds < 100 ? [1, "seconds"] : seconds < 6000 ? [60, "minutes"] : [3600, "hours"];
  return [(seconds / per).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }), `slot-${unit}`];
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
