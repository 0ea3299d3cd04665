package node

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/data"
	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
)

func (n *Node) makeData() (err error) {
	n.data, err = data.New(data.Config{
		Self:      n.self,
		Key:       n.key,
		NetworkID: n.secret.ID(),
		Blobs:     n.store.Blobs(),
		Kept:      n.store,
		Network:   n.network,
		Exchange:  func() *swarm.Exchange { return n.network.Exchange() }, // which is opened last
		Leases:    n.requester,
		Warm:      n.warm,
		Logger:    n.cfg.Logger,
	})
	return err
}

// maxWarm bounds the members that are asked for a module because they have
// compiled it.
const maxWarm = 8

// warm returns some members that have compiled a module.
func (n *Node) warm(module protocol.Digest) (list []peer.ID) {
	for _, e := range n.book.All(time.Now()) {
		if slices.ContainsFunc(e.Offer.Warm, func(d []byte) bool { return string(d) == string(module[:]) }) {
			list = append(list, e.Provider)
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(len(list), maxWarm)]
}

// slots is how many tasks all providers that are known run at once whose labels
// are as wished.
func (n *Node) slots(labels []string) (sum int) {
	wishes, _ := protocol.ParseWishes(labels) // they were checked when it was submitted
	for _, e := range n.book.All(time.Now()) {
		if !slices.ContainsFunc(wishes, func(w protocol.Wish) bool { return !w.Met(e.Offer.Labels) }) {
			sum += int(e.Load.GetSlots())
		}
	}
	return sum
}
