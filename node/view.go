package node

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// view is the node as the API shows it.
type view struct{ *Node }

// Status tells about the node itself.
func (v view) Status() api.Status {
	load := v.provider.Load()
	donate := v.donation()
	donate.State = load.Availability.Word() // which may be full
	id := v.secret.ID()
	now := time.Now()
	s := api.Status{
		Peer:         v.self.String(),
		Network:      v.cfg.Network,
		NetworkID:    id.String(),
		PID:          os.Getpid(),
		Version:      v.cfg.Version,
		Started:      api.Time(v.started),
		Home:         v.cfg.Home,
		DashboardURL: v.api.DashboardURL(),
		Donate:       donate,
		Slots:        load.Slots,
		Running:      load.Running,
		Queued:       load.Queued,
		MemoryBytes:  v.donor.Capacity().MemoryBytes,
		Speed:        v.donor.Capacity().Speed,
		Labels:       viewLabels(v.cfg.Labels),
		Donated:      v.donated(),
	}
	for _, a := range v.network.Addrs() {
		s.Addrs = append(s.Addrs, a.String())
	}
	for _, p := range v.network.Peers() {
		if p.Connected {
			s.PeersConnected++
		}
		if _, ok := v.book.Get(now, p.ID); ok {
			s.PeersKnown++
		}
	}
	s.ClockAheadS = ahead(v.self, v.book.All(now))
	for _, r := range v.network.Refused() {
		s.Refused = append(s.Refused, api.Refused{
			Peer: r.Peer.String(), Code: string(r.Code), Message: protocol.SafeText(r.Message), At: api.Time(r.When),
		})
	}
	s.Coordinate = viewPlace(v.network.Place(v.self))
	s.Sandbox = v.workers()
	total := v.ledger.total()
	s.ServedGas, s.ReceivedGas = total.Served, total.Received
	s.Blobs.Count, s.Blobs.Bytes = v.store.Blobs().Usage()
	for _, d := range v.sandbox.WarmModules(protocol.MaxWarm) {
		s.Warm = append(s.Warm, api.WarmModule{Module: d.CID(), Workers: v.sandbox.Workers(d)})
	}
	return s
}

// workers tells what the sandbox does.
func (v view) workers() api.Sandbox {
	f := v.sandbox.Figures()
	return api.Sandbox{
		Workers: f.Workers, Busy: f.Busy, Waiting: f.Waiting,
		Started: f.Started, Compiled: f.Compiled, Tasks: f.Tasks, Killed: f.Killed, Crashed: f.Crashed,
		MemoryBytes: f.Memory, Modules: f.Modules, CacheBytes: f.CacheBytes, CacheHits: f.CacheHits, CacheMisses: f.CacheMisses,
		Layers: viewLayers(v.sandbox.Layers(), v.cfg.Require),
	}
}

// Diagnose has a worker try to break out, and to read this node's key.
func (v view) Diagnose(ctx context.Context) (api.Diagnosis, error) {
	d, err := v.sandbox.Diagnose(ctx, filepath.Join(v.cfg.Home, "identity.key"))
	return viewDiagnosis(d, v.cfg.Require), err
}

// Peers tells about the other members that are connected or have an offer.
func (v view) Peers() []api.Peer {
	now := time.Now()
	list, access := []api.Peer{}, v.accessNow()
	for _, p := range v.network.Peers() {
		out := api.Peer{Labels: viewLabels(nil), Peer: p.ID.String(), Connected: p.Connected, RTTMS: millis(p.RTT, p.RTTKnown), Transport: p.Transport, Inbound: p.Inbound, Coordinate: viewPlace(p.Place, p.Placed)}
		for _, a := range p.Addrs {
			out.Addrs = append(out.Addrs, protocol.SafeText(a.String()))
		}
		account, standing := v.ledger.Account(p.ID), v.requester.Standing(p.ID)
		out.ServedGas, out.ReceivedGas = account.Served, account.Received
		_, barred := standing.Barred(now)
		out.Trusted, out.Trust = !barred, protocol.SafeText(standing.Words(now))
		out.Access, out.Refuses = access.Of(out.Peer), v.requester.Refuses(p.ID)
		if e, ok := v.book.Get(now, p.ID); ok {
			age := now.Sub(e.Received).Milliseconds()
			out.OfferAgeMS = &age
			out.Slots, out.Inflight = e.Load.GetSlots(), e.Load.GetRunning()+e.Load.GetQueued()
			out.Speed, out.MemoryBytes, out.Warm = e.Offer.Speed, e.Offer.MemoryBytes, len(e.Offer.Warm)
			out.Availability = e.Load.GetAvailability().Word()
			out.Version, out.Arch = protocol.SafeText(e.Offer.Version), protocol.SafeText(e.Offer.Arch)
			out.Labels = viewLabels(e.Offer.Labels)
		}
		list = append(list, out)
	}
	return list
}

// Offers tells what every provider gives, the node itself included.
func (v view) Offers() []api.Offer {
	return v.offersFor(market.Need{Profile: protocol.Profile, Limits: &protocol.Limits{}})
}

// OffersFor tells the same with regard to one task.
func (v view) OffersFor(t *protocol.Task) []api.Offer {
	spec, err := protocol.ParseSpec(t.Spec)
	if err != nil {
		return v.Offers() // it is of another version
	}
	need := market.Need{
		Profile: spec.Profile, Limits: spec.Limits, Module: spec.Module.Sum(), ModuleBytes: spec.Module.Size, Where: t.Terms.GetWhere(),
	}
	need.Labels, _ = protocol.ParseWishes(t.Terms.GetLabels()) // they were checked when it was submitted
	if on, err := peer.Decode(t.Terms.GetOn()); err == nil {
		need.On = on
	}
	return v.offersFor(need)
}

func (v view) offersFor(need market.Need) []api.Offer {
	now := time.Now()
	need.Self = v.self
	feasible, rejected := market.Rank(now, need, v.book.All(now), func(p peer.ID) market.Known {
		rtt, known := v.network.RTT(p)
		return market.Known{RTT: rtt, RTTKnown: known, Barred: v.requester.Barred(p), Blocked: v.requester.Blocked(p)}
	})
	list := []api.Offer{}
	for _, c := range append(feasible, rejected...) {
		e, ok := v.book.Get(now, c.Provider)
		if !ok {
			continue // it has expired since
		}
		o := api.Offer{
			Provider: c.Provider.String(), Self: c.Provider == v.self, Usable: c.Feasible && c.Reason == "", Reason: c.Reason,
			AgeMS: now.Sub(e.Received).Milliseconds(), TTLMS: e.Offer.TTL().Milliseconds(), RTTMS: millis(c.RTT, c.RTTKnown),
			Slots: c.Load.GetSlots(), Running: c.Load.GetRunning(), Queued: c.Load.GetQueued(), Availability: c.Load.GetAvailability().Word(),
			MemoryBytes: e.Offer.MemoryBytes, OutputBytes: e.Offer.OutputBytes, WallMS: e.Offer.WallMs,
			Gas: e.Offer.Gas, FileBytes: e.Offer.FileBytes, Files: e.Offer.Files, ModuleBytes: e.Offer.ModuleBytes,
			Speed: e.Offer.Speed, Profile: e.Offer.Profile,
			Version: protocol.SafeText(e.Offer.Version), Arch: protocol.SafeText(e.Offer.Arch), Labels: viewLabels(e.Offer.Labels),
		}
		// What keeps others' tasks from the own node does not keep its own.
		if s := v.stance(); o.Self && c.Feasible && c.Load.GetAvailability() != protocol.Full {
			if o.Usable, o.Reason = true, ""; s.Availability != protocol.Open {
				o.Availability, o.Reason = s.Availability.Word(), s.Reason
			}
		}
		for _, w := range e.Offer.Warm {
			o.Warm = append(o.Warm, protocol.Digest(w).CID())
		}
		list = append(list, o)
	}
	return list
}

// viewLabels makes no labels an empty object in JSON.
func viewLabels(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}

// Ping measures one fresh round trip.
func (v view) Ping(ctx context.Context, id string) (time.Duration, error) {
	p, err := peer.Decode(id)
	if err != nil {
		return 0, protocol.Errorf(protocol.CodeBadRequest, "%.80q is not a peer ID", id).WithHint("'spare peers' lists them")
	}
	return v.network.Ping(ctx, p)
}

// viewPlace is a place on the map of round trips for JSON.
func viewPlace(c market.Coordinate, known bool) *api.Coordinate {
	if !known {
		return nil
	}
	round := func(x float64) float64 { return math.Round(1000*x) / 1000 } // microseconds
	return &api.Coordinate{X: round(c.X), Y: round(c.Y), Height: round(c.Height), Error: round(c.Error)}
}

// millis is a round trip for JSON: unknown is null, never 0.
func millis(d time.Duration, known bool) *float64 {
	if !known {
		return nil
	}
	ms := api.Millis(d)
	return &ms
}

// Prune deletes tasks and jobs that have ended.
func (v view) Prune(p api.Pruning) (api.Pruned, error) {
	which := store.Pruning{IDs: p.IDs, Tasks: p.Tasks, Jobs: p.Jobs, Keep: p.Keep, Dry: p.DryRun}
	if p.Before != nil {
		which.Before = time.Time(*p.Before)
	}
	gone, err := v.store.Prune(which)
	return api.Pruned{Tasks: gone.Tasks, Jobs: gone.Jobs, Bytes: gone.Bytes}, err
}
