// Package jail confines worker processes in layers, and tells which of them
// are in force.
//
// A worker is the node's own executable, started again. It reads from stdin,
// writes to stdout, and needs one directory. The node's side is a [Box], which
// finds out once what this machine allows by starting a child that enters the
// jail, and starts workers from then on. The worker's side is [Enter], before
// it reads a hostile byte, and [Cell.Seal], once it maps no more code.
//
// On Linux the layers are namespaces, an empty file system but for the
// directory, resource limits, no privileges, Landlock, seccomp, idle
// priorities, and a control group where one can be had; none needs root. Other
// systems have the process, its priority and, on Windows, its limits.
//
// The package knows nothing of guests, engines or the network, keeps no state
// but its control group, and never weakens a layer by itself: a worker that
// cannot put in force what the Box found possible does not run.
//
// # Why layers
//
// The engine is expected to hold its guests. For the day when it does not,
// nearly everything is denied by two layers or more, since kernels and
// containers often lack one of them: see the table of the package's tests.
//
// # Why two filters of system calls
//
// Loading a module opens files and makes memory executable, and a guest never
// needs to. Enter's filter allows that, Seal's does not any more.
//
// # Why Landlock without a library
//
// go-landlock needs libpsx, which speaks to all threads by signals and lists
// /proc when it is built with cgo; there is no /proc in the jail. The three
// calls are short.
//
// # Why programs are built without cgo
//
// Privileges, Landlock and priorities are a thread's, and Go can change all of
// a process's threads only where no C library starts some. With cgo those
// layers are not in force, and say so.
package jail
