package node

import (
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// Figures counts what the node has done since it was started.
func (v view) Figures() api.Figures {
	asked, own, net := v.provider.Asked(), v.requester.Figures(), v.network.Figures()
	return api.Figures{
		TasksEnded: own.Ended, LeasesGranted: own.Leases, LeasesRefused: words(own.Refusals), Failovers: own.Failovers,
		GuestsTaken: asked.Taken, GuestsRefused: words(asked.Refusals), GuestsHanded: asked.HandedOver,
		OffersSent: net.Published, OffersReceived: net.Gossip,
		RTT:  api.Spread{Bounds: net.RTT.Bounds, Counts: net.RTT.Counts, Count: net.RTT.Count, Sum: net.RTT.Sum},
		Jobs: v.jobs.Open(),
	}
}

func words(counts map[protocol.Code]uint64) map[string]uint64 {
	list := make(map[string]uint64, len(counts))
	for code, n := range counts {
		list[string(code)] = n
	}
	return list
}
