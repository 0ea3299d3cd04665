package node

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
)

// clockGrain is what clocks may differ by unseen: an offer that was passed on by
// others, or asked for, is as old as it may become.
const clockGrain = time.Minute

// ahead is how many seconds this machine's clock is ahead of most peers', behind
// when negative, 0 when it is less than clockGrain. It is nil when no peer has an
// offer, whose sequence is the time when it was made.
func ahead(self peer.ID, offers []market.Entry) *int64 {
	var differ []time.Duration
	for _, e := range offers {
		if e.Provider != self {
			differ = append(differ, e.Received.Sub(time.Unix(0, int64(e.Offer.Sequence))))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	seconds := int64(0)
	if median := differ[len(differ)/2]; median.Abs() >= clockGrain {
		seconds = int64(median.Round(clockGrain / 6).Seconds())
	}
	return &seconds
}
