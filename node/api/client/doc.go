// Package client speaks with the node of this user through the API's socket.
// The command line is made of it, and other Go programs may use it.
//
// It keeps no state and no connection that anybody must close, starts no node,
// and shows nothing: every failure comes back as a [protocol.Error] with the
// code and the hint that the node gave.
package client
