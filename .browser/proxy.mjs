// A node whose every stranger is hostile: passes all on to a real one, and puts
// what a page may stumble over into whatever comes from strangers.
import http from "node:http";

export const hostile = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\u202egnp.evil\u2066\u0000\u001b[31m \"'`${window.pwned=1}&lt; " + "W".repeat(3000);

const strangers = new Set(["reason", "version", "arch", "trust", "name", "message", "note", "why", "hint", "network", "value", "does", "code"]);
let results = 0; // each attempt has another

/** @param {any} v @returns {any} */
function poison(v, key = "") {
  if (Array.isArray(v)) {
    return ["args", "env", "addrs"].includes(key) ? v.map(() => hostile) : v.map((x) => poison(x));
  }
  if (v !== null && typeof v === "object") {
    return Object.fromEntries(Object.entries(v).map(([k, x]) => (k === "labels" && !Array.isArray(x) ? [k, { [hostile]: hostile }] : [k, poison(x, k)])));
  }
  if (key === "result" && typeof v === "string") {
    return `${results++}${v}`;
  }
  return typeof v === "string" && strangers.has(key) ? `${v} ${hostile}` : v;
}

/** Serves the node of an address as that of hostile strangers. @param {string} to @returns {Promise<{ url: string, close: () => void }>} */
export function proxy(to) {
  const node = new URL(to);
  const server = http.createServer((ask, answer) => {
    const headers = { ...ask.headers, host: node.host };
    if (headers.origin) {
      headers.origin = node.origin;
    }
    delete headers["accept-encoding"];
    const on = http.request({ host: node.hostname, port: node.port, path: ask.url, method: ask.method, headers }, (said) => {
      const kind = String(said.headers["content-type"]);
      const out = { ...said.headers };
      delete out["content-length"];
      if (kind.startsWith("text/event-stream")) {
        answer.writeHead(said.statusCode ?? 502, out);
        let rest = "";
        said.setEncoding("utf8").on("data", (chunk) => {
          const lines = (rest + chunk).split("\n");
          rest = lines.pop() ?? "";
          for (const line of lines) {
            answer.write(`${line.startsWith("data: ") ? `data: ${JSON.stringify(poison(JSON.parse(line.slice(6))))}` : line}\n`);
          }
        });
        said.on("end", () => answer.end());
        return;
      }
      const parts = /** @type {Buffer[]} */ ([]);
      said.on("data", (part) => parts.push(part));
      said.on("end", () => {
        let body = Buffer.concat(parts);
        if (kind.includes("json") && body.length > 0) {
          body = Buffer.from(JSON.stringify(poison(JSON.parse(body.toString()))));
        } else if (/\/(stdout|stderr)$/.test(ask.url ?? "")) {
          body = Buffer.from(hostile);
        }
        answer.writeHead(said.statusCode ?? 502, out);
        answer.end(body);
      });
    });
    on.on("error", () => answer.destroy());
    answer.on("close", () => on.destroy());
    ask.pipe(on);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
      resolve({ url: `http://127.0.0.1:${port}/`, close: () => { server.closeAllConnections(); server.close(); } });
    });
  });
}
