// Package wasi is the whole world of a guest: WASI preview 1
// (https://github.com/WebAssembly/WASI/blob/snapshot-01/phases/snapshot/docs.md),
// all 46 functions of it, virtual and deterministic. A program that is given
// the same [Config] sees the same world on every machine and under every
// engine, byte for byte, and pays the same gas.
//
// The package must not touch a file, clock, random source or socket of the
// host, know an engine, start a goroutine, or let a guest make it hold more
// memory than [Config] allows.
//
// # The profile
//
//   - Time passes as gas is used, one nanosecond each, and as the guest sleeps,
//     which takes no time on the host. The wall clock starts at Config.Clock.
//   - Randomness is the ChaCha8 stream of Config.Seed.
//   - Standard streams are neither terminals nor files. A read of stdin is
//     filled unless the stream ends, so that no guest can tell in which pieces
//     its input came.
//   - Descriptor 3 is the directory "/" of a file system in memory, with /in
//     (which nothing can change), /out and /tmp. See the file system below.
//   - Sockets, signals and dropping of rights are refused.
//
// # The file system
//
// Inode numbers count creations: the four directories, then inputs in the order
// of their paths, then what the guest makes. The times of a file are
// Config.Clock unless the guest sets them; reading and writing moves none.
// Directories list their entries sorted by name; an open directory keeps to the
// list it made when it was read from its start. Directories have one link.
//
// A path is relative to an open directory and never leads above it; a symbolic
// link may lead anywhere in the guest's file system, and an absolute one starts
// at its root. A path has at most 4096 bytes, a name at most 255, in UTF-8;
// resolving one follows at most 40 links; 1024 descriptors may be open.
//
// Config.Files counts directory entries, and Config.FileBytes the sizes of
// files (holes included, and files that were removed but are still open) and of
// the targets of symbolic links. A write that would not fit writes nothing and
// fails with ENOSPC.
//
// # Why a file system of our own
//
// A directory of the host would show its order, times, inode numbers and
// limits, all of which differ between machines, and has let guests out before
// (https://github.com/tetratelabs/wazero/issues/2321).
package wasi
