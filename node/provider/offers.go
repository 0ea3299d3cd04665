package provider

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Timing of offers. GossipSub costs each node about 1.6 kB for every message
// in the network, so an offer is published when its load has changed by enough
// to matter and otherwise rarely.
const (
	// A keepalive goes out after keepaliveEach for each member that has an offer, a
	// quarter more or less and within bounds: up to 33 members the network as a whole
	// sends one in that time, and each has as little to pass on.
	keepaliveEach = 3 * time.Second
	keepaliveMin  = 20 * time.Second
	keepaliveMax  = 100 * time.Second
	// keepalives is how many times the usual gap between two an offer is valid: long
	// enough for one to be lost, and not longer, since who is not connected with the
	// provider learns by it alone that it has gone.
	keepalives = 3
	minGap     = time.Second // between two offers for a changed load
	// renewCapability is how often the DHT's record is signed anew; it is
	// valid for protocol.MaxOfferTTL.
	renewCapability = protocol.MaxOfferTTL / 2
	// eagerFor is how long after the start offers go out every eagerGap, since
	// gossip meshes are still forming and would not carry a single one far.
	eagerFor = 5 * time.Second
	eagerGap = time.Second
)

// publishOffers publishes the provider's offers, on change and as a keepalive,
// until ctx ends.
func (p *Provider) publishOffers(ctx context.Context) error {
	start := time.Now()
	var advertised time.Time
	for ctx.Err() == nil {
		if p.renew.Swap(false) || advertised.IsZero() || time.Since(advertised) > renewCapability {
			if err := p.advertise(ctx); err != nil {
				return err
			}
			advertised = time.Now()
		}
		load := p.Load()
		gap := keepaliveGap(p.cfg.Members())
		offer, err := p.sign(keepalives*gap, load)
		if err != nil {
			return err
		}
		if err := p.cfg.Network.Publish(ctx, offer); err != nil && ctx.Err() == nil {
			p.cfg.Logger.Warn("cannot publish the offer", "err", err)
		}
		wait := gap*3/4 + rand.N(gap/2)
		if time.Since(start) < eagerFor {
			wait = eagerGap
		}
		p.awaitChange(ctx, load, wait)
	}
	return nil
}

// keepaliveGap is the usual time between two offers of each of so many members.
func keepaliveGap(members int) time.Duration {
	return min(max(time.Duration(members)*keepaliveEach, keepaliveMin), keepaliveMax)
}

func (p *Provider) advertise(ctx context.Context) error {
	capability, err := p.sign(protocol.MaxOfferTTL, nil)
	if err != nil {
		return err
	}
	if err := p.cfg.Network.Advertise(ctx, capability); err != nil && ctx.Err() == nil {
		p.cfg.Logger.Warn("cannot advertise the capability", "err", err)
	}
	return nil
}

// awaitChange returns when the load differs enough from last, or after wait.
func (p *Provider) awaitChange(ctx context.Context, last *protocol.Load, wait time.Duration) {
	keepalive := time.NewTimer(wait)
	defer keepalive.Stop()
	gap := time.NewTimer(minGap)
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return
	case <-gap.C:
	}
	for {
		if p.renew.Load() || matters(last, p.Load()) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-keepalive.C:
			return
		case <-p.changed:
		}
	}
}

// NoteAvailability tells that the node may have been paused or resumed.
func (p *Provider) NoteAvailability() { p.noteChange() }

// matters is the hysteresis: a change of availability always does, a change of
// load when it is more than a tenth of the slots.
func matters(old, now *protocol.Load) bool {
	if old.Availability != now.Availability || old.Slots != now.Slots {
		return true
	}
	diff := int(old.Running+old.Queued) - int(now.Running+now.Queued)
	return 10*max(diff, -diff) > int(now.Slots)
}

// sign makes and signs an offer. Without a load it is the capability record.
func (p *Provider) sign(ttl time.Duration, load *protocol.Load) (*protocol.SignedOffer, error) {
	sequence, err := p.cfg.Sequence(time.Now())
	if err != nil {
		return nil, fmt.Errorf("number the offer: %w", err)
	}
	o := p.capability()
	o.Sequence = sequence
	o.TtlMs = uint32(ttl.Milliseconds())
	o.Load = load
	if load != nil {
		for _, d := range p.cfg.Runner.WarmModules(protocol.MaxWarm) {
			o.Warm = append(o.Warm, d[:])
		}
	}
	return protocol.SignOffer(p.cfg.NetworkID, p.cfg.Key, o)
}

// capability is an offer's lasting part.
func (p *Provider) capability() *protocol.Offer {
	c := p.ceilings.Load()
	return &protocol.Offer{
		Provider:    p.self,
		MemoryBytes: c.MemoryBytes,
		OutputBytes: c.OutputBytes,
		WallMs:      c.WallMs,
		Gas:         c.Gas,
		FileBytes:   c.FileBytes,
		Files:       c.Files,
		ModuleBytes: p.cfg.ModuleBytes,
		Speed:       p.cfg.Speed,
		Profile:     protocol.Profile,
		Version:     p.cfg.Version,
		Arch:        p.cfg.Arch,
		Labels:      p.cfg.Labels,
	}
}
