// Package api is how programs on the same machine speak with the node: JSON
// over HTTP under /api/v1, on a unix socket in the node's home, and on a loopback
// TCP address for the dashboard page and for programs that have the token.
// Problems are those of RFC 9457 with the code and the hint of a
// [protocol.Error]; the OpenAPI description is at /openapi.json.
//
// It translates and guards. It places no task, runs nothing and stores
// nothing: what it serves comes from the [Tasks], [Blobs] and [Node] that it
// is given. It must never serve anything but /healthz and the page's static
// files to somebody who is neither the owner of the socket nor the holder of a
// dashboard session or of the token.
//
// # Why two listeners
//
// A file's permissions say who may use the socket, and no browser can be
// tricked into opening it. A TCP port of the loopback interface is open to
// every user of the machine and to every page in a browser, so there each
// request must prove itself, reads included.
//
// # How to look into a process
//
// The socket alone serves /debug/pprof/, the profiles of [net/http/pprof]:
//
//	curl --unix-socket HOME/api.sock -o cpu.pprof 'http://spare/debug/pprof/profile?seconds=10'
//	go tool pprof -top cpu.pprof
//	curl --unix-socket HOME/api.sock 'http://spare/debug/pprof/goroutine?debug=1'
package api
