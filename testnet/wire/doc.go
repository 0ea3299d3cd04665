// Package wire joins real processes on one Linux machine by a network that can
// be cut: each process lives in a network namespace of its own. It needs root
// and the program ip, and makes and removes its own namespaces only.
//
// It must not know what the processes are.
package wire
