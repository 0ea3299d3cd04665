// Package testnet holds what is shown with real node processes: the scripts
// that start and end a private network on this machine (up.sh, down.sh,
// demo.sh), the example programs that run on it, the scenarios that drive the
// real binary, and the test that keeps the rooms of this tree apart.
//
// It must not know how a node works inside: everything goes through the
// command line, the files in a node's home, and signals.
package testnet
