// Package provider is a node's giving side: it tells the network what the node
// offers, admits or refuses replicas, fetches what they need from their
// requester, has them run in the sandbox, and answers with a result and a
// receipt.
//
// It never chooses a peer, never keeps a task beyond its replica, and knows
// neither libp2p nor the WebAssembly engine: it is given framed connections
// and a [Runner].
package provider
