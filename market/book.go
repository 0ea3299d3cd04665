package market

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxProviders bounds the offers held.
	maxProviders = protocol.MaxBookOffers
	// maxHeard bounds the sequences remembered, those of expired offers
	// included.
	maxHeard = 4 * maxProviders
	// maxSkew is how far behind ours a provider's clock may be. It is longer
	// than any mistaken time zone, since skew must blind nobody; a replay that
	// is older than this is refused even if its provider has been forgotten.
	maxSkew = 24 * time.Hour
)

// Entry is what a [Book] holds of one provider. The messages in it are shared
// and must not be changed.
type Entry struct {
	Provider peer.ID
	Offer    *protocol.Offer
	Signed   *protocol.SignedOffer // as it came, to be passed on
	Received time.Time             // of the offer, on our clock
	Load     *protocol.Load        // freshest known, the offer's or a reply's; nil when none is
	LoadAt   time.Time             // when Load came

	near bool // its provider was connected when the offer came
	away bool // its provider could not be reached since
}

func (e Entry) valid(now time.Time) bool { return now.Before(e.Expires()) }

// Expires returns when the offer ends.
func (e Entry) Expires() time.Time { return e.Received.Add(e.Offer.TTL()) }

// Book holds the freshest valid offer of each provider, at most
// [protocol.MaxBookOffers] of them. Expiry is decided on read. It is safe for
// concurrent use.
type Book struct {
	mu      sync.Mutex
	entries []Entry           // sorted by Provider
	heard   map[peer.ID]heard // of present and past providers
}

// heard is the newest sequence of a provider. It outlives its offer, so that
// an older one that is passed around does not come back.
type heard struct {
	sequence uint64
	at       time.Time
}

// NewBook returns an empty Book.
func NewBook() *Book { return &Book{heard: make(map[peer.ID]heard)} }

// Put notes an offer that [protocol.SignedOffer.Open] has found to be author's,
// with a sequence above 0. It reports whether the offer is news: false for one that is not newer than
// what author said before, that is too old by its sequence, or for which there
// is no room. An offer without a load keeps the load known before.
//
// near says that author is connected. In a full Book such an offer takes the
// place of the oldest one that is not: whoever passes on the offers of
// providers that he has made up keeps none out that is really there.
func (b *Book) Put(now time.Time, author peer.ID, signed *protocol.SignedOffer, o *protocol.Offer, near bool) bool {
	if o.Sequence > math.MaxInt64 || tooOld(now, o.Sequence, o.TTL()) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i, found := b.find(author)
	newest := b.heard[author].sequence
	if found {
		newest = max(newest, b.entries[i].Offer.Sequence)
	}
	if o.Sequence <= newest {
		return false
	}
	e := Entry{Provider: author, Offer: o, Signed: signed, Received: now, near: near}
	if o.Load != nil {
		e.Load, e.LoadAt = o.Load, now
	}
	if found {
		if old := b.entries[i]; e.Load == nil && old.valid(now) {
			e.Load, e.LoadAt = old.Load, old.LoadAt
		}
		b.entries[i] = e
	} else {
		if len(b.entries) >= maxProviders {
			b.entries = slices.DeleteFunc(b.entries, func(e Entry) bool { return !e.valid(now) })
			if len(b.entries) >= maxProviders && (!near || !b.dropOldest()) {
				return false
			}
			i, _ = b.find(author)
		}
		b.entries = slices.Insert(b.entries, i, e)
	}
	b.remember(now, author, o.Sequence)
	return true
}

// Get returns the entry of p if its offer is valid now.
func (b *Book) Get(now time.Time, p peer.ID) (Entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, found := b.find(p)
	if !found || b.entries[i].away || !b.entries[i].valid(now) {
		return Entry{}, false
	}
	return b.entries[i], true
}

// All returns the entries whose offers are valid now, sorted by provider,
// without those that are away.
func (b *Book) All(now time.Time) []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Entry, 0, len(b.entries))
	for _, e := range b.entries {
		if !e.away && e.valid(now) {
			all = append(all, e)
		}
	}
	return all
}

// Providers returns those whose offers are valid now, sorted, with those that
// are away.
func (b *Book) Providers(now time.Time) []peer.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]peer.ID, 0, len(b.entries))
	for _, e := range b.entries {
		if e.valid(now) {
			all = append(all, e.Provider)
		}
	}
	return all
}

// SetLoad notes the load that p stated in a reply. It changes nothing when p
// has no valid offer, when l is nil or when a later load is known.
func (b *Book) SetLoad(now time.Time, p peer.ID, l *protocol.Load) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, found := b.find(p)
	if !found || l == nil {
		return
	}
	e := &b.entries[i]
	if !e.valid(now) || e.Load != nil && now.Before(e.LoadAt) {
		return
	}
	e.Load, e.LoadAt = l, now
}

// Away notes that p cannot be reached: its offer counts for nothing until p is
// [Book.Back], or a newer one comes.
func (b *Book) Away(p peer.ID) { b.setAway(p, true) }

// Back notes that p has been reached.
func (b *Book) Back(p peer.ID) { b.setAway(p, false) }

func (b *Book) setAway(p peer.ID, away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, found := b.find(p); found {
		b.entries[i].away = away
	}
}

// dropOldest makes room for one offer, unless all providers were connected.
func (b *Book) dropOldest() bool {
	oldest := -1
	for i, e := range b.entries {
		if !e.near && (oldest < 0 || e.Received.Before(b.entries[oldest].Received)) {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	b.entries = slices.Delete(b.entries, oldest, oldest+1)
	return true
}

func (b *Book) find(p peer.ID) (int, bool) {
	return slices.BinarySearchFunc(b.entries, p, func(e Entry, p peer.ID) int {
		return strings.Compare(string(e.Provider), string(p))
	})
}

// remember notes the sequence of p. When there is no room it forgets those
// that tooOld covers by now, and if there is none, whoever has been silent for
// longest.
func (b *Book) remember(now time.Time, p peer.ID, sequence uint64) {
	if _, known := b.heard[p]; !known && len(b.heard) >= maxHeard {
		var silent peer.ID
		var since time.Time
		for q, h := range b.heard {
			if tooOld(now, h.sequence, protocol.MaxOfferTTL) {
				delete(b.heard, q)
			} else if silent == "" || h.at.Before(since) || h.at.Equal(since) && q < silent {
				silent, since = q, h.at
			}
		}
		if len(b.heard) >= maxHeard {
			delete(b.heard, silent)
		}
	}
	b.heard[p] = heard{sequence, now}
}

// tooOld reports whether an offer of this sequence, which is at least the unix
// time in ns when it was made, has ended on any clock within maxSkew of ours.
func tooOld(now time.Time, sequence uint64, ttl time.Duration) bool {
	return time.Unix(0, int64(sequence)).Add(ttl + maxSkew).Before(now)
}
