// Package mesh joins a node to its private network of peers: connections over
// TCP and QUIC that only members of the network can make, framed streams
// between members, their round-trip times, the gossip that spreads offers, and
// the directory (a DHT) in which providers are found.
//
// It is the only user of libp2p's host, DHT and pubsub. It does not know what
// a task is, does not decide who runs one, and never reads or writes the disk:
// offers go to the [market.Book] it is given, peers worth remembering to a
// callback.
//
// # Why the handshake is below libp2p
//
// A peer is a member when it proves that it knows the network's secret, on
// each connection anew, see [gate]. The proof happens between the transport
// and libp2p's swarm: a connection that has not passed it is not known to
// libp2p at all. So no stream of any protocol (not even identify) is served or
// opened on it, no address of it is stored, and DHT and pubsub need no filters
// of their own, since whoever they can see is a member. A connection gater
// refuses every connection that came by another way, so that a transport added
// later (a relay, for instance) cannot bypass the gate unseen.
//
// libp2p's own pre-shared keys are not used since they forbid QUIC.
package mesh
