// Package sandbox runs strangers' WASI programs in worker processes.
//
// A [Pool] keeps workers: child processes, the same executable started again,
// each bound to one requester, one module and its limits. A worker stays warm
// between tasks and runs each task in a fresh instance of the module. Modules
// are metered and compiled by a separate, short-lived worker into a cache on
// disk that only the node reads or removes, and that executors only read.
//
// Four packages divide the work. meter rewrites a module so that it counts its
// gas, ends when it has used its share, and computes the same everywhere. wasi
// is the world that a guest sees. jail confines the process around it. This one
// starts processes, feeds them, and is the only user of the WebAssembly engine,
// within it only wazero.go.
//
// It fetches nothing, decides nothing about who may run what, and never runs a
// guest, nor decodes a module, in the node's own process. Whatever a worker
// says is bounded and checked like a peer's message, since a guest that breaks
// out of the engine speaks with the worker's voice.
//
// # Why processes
//
// The engine's compiled code cannot be interrupted from within the process
// at a bearable price, and a defect in the engine must not reach the node's
// keys or another requester's data. A process costs some milliseconds once per
// requester and module, and SIGKILL always works.
//
// # Why a guest sees no real clock, file or chance
//
// Runs of equal specs must be equal to be compared. The clock starts where the
// Spec says, moves with the gas used, and jumps over sleeps; random bytes come
// from a stream seeded by the Spec; files are the task's own.
package sandbox
