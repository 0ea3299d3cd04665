// Package protocol is the vocabulary that every other room of spare shares:
// tasks, offers, replicas, leases, receipts and results, how they are written
// on the wire and on disk, how they are signed, how large they may be, and the
// stable codes of what can go wrong.
//
// It decides nothing, does no I/O of its own beyond framing a stream that it
// is given, and imports only the standard library, protobuf and libp2p's core
// types. Every message that comes from a peer passes a Validate method or a
// bounded decoder of this package before anybody looks at it.
package protocol
