// Asks the node. The header proves that the request is the page's own: its secret
// came with the session, and is kept where no other port of the machine sees it.

const base = "/api/v1";
let told = "";

/** The secret of the page. Workers have no storage, and are told. */
export const secret = () => globalThis.localStorage?.getItem("page") ?? told;

export const tellSecret = (/** @type {string} */ page) => { told = page; };

/** What the node answered instead of data. */
export class Problem extends Error {
  /** @param {number} status @param {{detail?: string, hint?: string, code?: string}} body */
  constructor(status, body) {
    super(body.detail ?? `the node answered ${status}`);
    this.status = status;
    this.code = body.code ?? "";
    this.hint = body.hint ?? "";
  }
}

/** @param {string} path @param {RequestInit} [init] */
export async function request(path, init = {}) {
  const answer = await fetch(base + path, {
    credentials: "same-origin", cache: "no-store", ...init, headers: { "X-Spare": secret() || "none", ...init.headers },
  });
  if (!answer.ok) {
    throw new Problem(answer.status, await answer.json().catch(() => ({})));
  }
  return answer;
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
async function json(path, init) {
  const answer = await request(path, { signal: AbortSignal.timeout(10_000), ...init });
  return answer.status === 204 ? null : answer.json();
}

/** All of an array that comes in parts. @param {string} path @returns {Promise<any[]>} */
export async function list(path) {
  const all = [];
  for (let at = path; ;) {
    const answer = await request(at, { signal: AbortSignal.timeout(10_000) });
    all.push(...await answer.json());
    const next = /<\/api\/v1([^>]+)>; rel="next"/.exec(answer.headers.get("Link") ?? "");
    if (next === null) {
      return all;
    }
    at = next[1];
  }
}

export const get = (/** @type {string} */ path) => json(path);

export const post = (/** @type {string} */ path, /** @type {unknown} */ body = undefined) =>
  json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });

/** The beginning of raw bytes as text, and whether there is more. @param {string} path @param {number} most */
export async function text(path, most) {
  const leaving = new AbortController();
  const answer = await request(path, { signal: AbortSignal.any([leaving.signal, AbortSignal.timeout(10_000)]) });
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: "" };
    said += value ?? "";
    if (done || said.length > most) {
      leaving.abort();
      return { text: said.slice(0, most), more: said.length > most };
    }
  }
}

/** Swaps the code of the link for a session with its secret, and takes it out of the address bar. */
export async function enter() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code === null) {
    return;
  }
  history.replaceState(null, "", location.pathname);
  const { page } = await post("/session", { code });
  localStorage.setItem("page", page);
}

/** What is to be told of an error. @param {unknown} error */
export function explain(error) {
  if (error instanceof Problem) {
    return error.hint ? `${error.message}; ${error.hint}` : error.message;
  }
  return "the node does not answer; start it with 'spare up'";
}
