// Asks the node. The header proves that the request is the page's own.

const base = "/api/v1";

/** What the node answered instead of data. */
export class Problem extends Error {
  /** @param {number} status @param {{detail?: string, hint?: string}} body */
  constructor(status, body) {
    super(body.detail ?? `the node answered ${status}`);
    this.status = status;
    this.hint = body.hint ?? "";
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
async function ask(path, init = {}) {
  const answer = await fetch(base + path, {
    ...init,
    headers: { "X-Spare": "1", "Content-Type": "application/json" },
    credentials: "same-origin",
    cache: "no-store",
    signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) {
    throw new Problem(answer.status, await answer.json().catch(() => ({})));
  }
  return answer.status === 204 ? null : answer.json();
}

/** Swaps the code of the link for a session and takes it out of the address bar. */
export async function enter() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code === null) {
    return;
  }
  history.replaceState(null, "", location.pathname);
  await ask("/session", { method: "POST", body: JSON.stringify({ code }) });
}

/** Everything that the page shows, at one moment. */
export async function snapshot() {
  const [status, peers, page] = await Promise.all([ask("/status"), ask("/peers"), ask("/tasks?limit=50")]);
  return { status, peers, tasks: page.tasks };
}
