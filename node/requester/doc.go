// Package requester is a node's asking side: it takes tasks from its user and
// sees each one through to exactly one result. [Requester.conduct] is the way
// of one task, top to bottom: discover, rank, place, execute, conclude.
//
// Which peers are chosen is decided by the pure functions of package market;
// which bytes go over the wire, by package protocol. This package knows
// neither libp2p nor the sandbox: the node itself is one more provider, behind
// the same connection as the others.
package requester
