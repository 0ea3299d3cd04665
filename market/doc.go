// Package market decides which peers run a task: it keeps the freshest offer
// of each provider in a [Book], tells which of them can run the task and why
// the others cannot, draws a few at random, scores them by fresh load and
// picks the best.
//
// It does no I/O, reads no clock and starts no goroutine: the time and the
// source of randomness are passed in, so that a test or a simulator in virtual
// time runs the very code that the node runs. It must not import any room but
// protocol. Asking peers for their load, counting attempts and waiting between
// them belong to the requester.
//
// # The way of one decision
//
//	Book.All -> Rank -> Draw -> (the requester probes those drawn,
//	for as long as Enough says no and at most ProbeTimeout) -> Place
//
// # Why a draw and a probe, and never a ranking by gossip
//
// Gossiped load is seconds old. When every requester sends to the peer that
// gossip shows as the least loaded, all send to the same one, and it stays
// shown as idle until it has long been swamped: in simulation that was 59
// times worse than an oracle in the mean. Speed and round trip hardly change,
// so they weigh the draw; load is asked of the few that were drawn. Gossiped
// load serves only to skip a peer that said a moment ago that it takes nothing.
// See Mitzenmacher, How Useful Is Old Information? (IEEE TPDS 2000).
package market
