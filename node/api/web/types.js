// What the API answers, as far as the page reads it; see /openapi.json. Nothing
// here runs.

/**
 * @typedef {{ status: Status, peers: Record<string, Peer>, donation: Donation, boot: string }} Snapshot
 *
 * @typedef {{ mode: string, state: string, reason: string, until: string|null }} Donate
 * @typedef {{ key: string, value: string, origin: string, note: string, doc?: string }} Setting
 * @typedef {{ peer: string, code: string, message: string, at: string }} Refused
 * @typedef {Donate & { rules: Setting[], asked: { taken: number, refused: number, handed_over: number, last_refusal: Refused|null } }} Donation
 * @typedef {{ name: string, in_force: boolean, required: boolean, does: string, why: string }} Layer
 * @typedef {{ x_ms: number, y_ms: number, height_ms: number, error: number }} Coordinate
 *
 * @typedef {{
 *   peer: string, network: string, network_id: string, addrs: string[], pid: number, version: string, started: string,
 *   home: string, donate: Donate, slots: number, running: number, queued: number, memory_bytes: number, speed: number,
 *   peers_connected: number, peers_known: number, refused: Refused[], blobs: { count: number, bytes: number },
 *   warm: Array<{ module: string, workers: number }>, served_gas: number, received_gas: number,
 *   sandbox: { workers: number, busy: number, waiting: number, tasks: number, memory_bytes: number, modules: number, cache_bytes: number, layers: Layer[] },
 *   labels: Record<string, string>, coordinate?: Coordinate|null,
 * }} Status
 *
 * @typedef {{
 *   peer: string, connected: boolean, rtt_ms: number|null, slots: number, inflight: number, speed: number,
 *   offer_age_ms: number|null, memory_bytes: number, availability: string, warm: number, version: string, arch: string,
 *   addrs: string[], served_gas: number, received_gas: number, trusted: boolean, trust: string,
 *   labels: Record<string, string>, coordinate?: Coordinate|null,
 * }} Peer
 *
 * @typedef {{ code: string, message: string, hint?: string }} TaskError
 * @typedef {{
 *   attempt: number, provider: string, self: boolean, state: string, reason: string, rtt_ms: number|null,
 *   started: string|null, ended: string|null, result?: string, gas?: number,
 * }} Attempt
 * @typedef {{ path: string, size: number, digest: string }} File
 * @typedef {{ memory_bytes?: number, output_bytes?: number, wall_ms?: number, gas?: number, file_bytes?: number, files?: number }} Limits
 * @typedef {{ replicas?: number, quorum?: number, verify?: string, where?: string, labels?: string[], on?: string }} Terms
 * @typedef {{
 *   id: string, name: string, state: string, reason: string, exit_code: number|null, exit_source: string|null,
 *   stdout_digest: string|null, stdout_bytes: number, stderr_bytes: number, files: File[]|null, wall_ms: number|null,
 *   gas: number|null, gas_limit: number, error: TaskError|null, submitted: string, ended: string|null, module: string,
 *   args: string[], env: string[], stdin_digest: string, stdin_bytes: number, inputs: File[]|null, limits: Limits, seed: number,
 *   terms: Terms, attempts: Attempt[],
 * }} Task
 * @typedef {{
 *   id: string, name: string, state: string, reason: string, tasks: number, passed: number, failed: number, results: number,
 *   submitted: string, ended: string|null, module: string, args: string[], terms: Terms,
 * }} Job
 *
 * @typedef {{
 *   provider: string, self: boolean, usable: boolean, reason: string, age_ms: number, rtt_ms: number|null, slots: number,
 *   running: number, queued: number, availability: string, memory_bytes: number, speed: number,
 * }} Offer
 *
 * @typedef {{
 *   requester: string, name: string, task: string, module: string, state: string, since: string, ended: string|null,
 *   exit: number|null, code: string, wall_ms: number|null, gas: number,
 * }} Guest
 * @typedef {{ requester: string, requesters?: number, tasks: number, wall_ms: number, gas: number, last: string|null, access: string }} Total
 * @typedef {{
 *   now: Guest[], lately: Guest[], totals: Total[], next: string, others: Total,
 *   donated: { tasks: number, slot_ms: number, gas: number, since: string },
 * }} Guests
 * @typedef {{ mode: string, blocked: Array<{ peer: string, since: string, why: string }>, allowed: Array<{ peer: string, since: string }> }} Access
 */

export {};
