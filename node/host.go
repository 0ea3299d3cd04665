package node

import (
	"slices"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/guests"
	"github.com/spare-network/spare/node/provider"
	"github.com/spare-network/spare/protocol"
)

// openHost goes on with what is stored of those whose tasks run here.
func (n *Node) openHost() (err error) {
	if n.access, err = guests.OpenAccess(n.self, n.store); err != nil {
		return err
	}
	n.guests, err = guests.OpenLedger(n.store, n.started, n.cfg.Logger)
	return err
}

// host is the node as a host of others' tasks, for the API.
type host struct{ *Node }

// Guests tells who runs what here now and lately, and of at most limit totals.
func (h host) Guests(after string, limit int) (api.Guests, error) {
	access := h.accessNow()
	figures := h.guests.Figures()
	out := api.Guests{
		Donated: h.donated(),
		Others: api.GuestTotal{
			Requesters: figures.Fallen, Tasks: figures.Others.Tasks, WallMS: uint64(figures.Others.Wall().Milliseconds()), Gas: figures.Others.Gas,
		},
	}
	totals := h.guests.Totals()
	if after != "" {
		i := slices.IndexFunc(totals, func(t guests.Total) bool { return t.Requester.String() == after })
		if i < 0 {
			return out, protocol.Errorf(protocol.CodeNotFound, "no total is kept of %q", protocol.SafeText(after)).WithHint("begin with the first ones again")
		}
		totals = totals[i+1:]
	}
	if len(totals) > limit {
		totals = totals[:limit]
		out.Next = totals[limit-1].Requester.String()
	}
	for _, t := range totals {
		id := t.Requester.String()
		out.Totals = append(out.Totals, api.GuestTotal{
			Requester: id, Requesters: 1, Tasks: t.Tasks, WallMS: uint64(t.Wall().Milliseconds()), Gas: t.Gas, Last: moment(t.Last), Access: access.Of(id),
		})
	}
	for _, g := range h.provider.Guests() {
		out.Now = append(out.Now, viewGuest(g))
	}
	for _, s := range h.guests.Lately() {
		out.Lately = append(out.Lately, viewStay(s))
	}
	return out, nil
}

func viewGuest(g provider.Guest) api.Guest {
	v := api.Guest{
		Requester: g.Requester.String(), Name: g.Name, Task: g.Task, Module: g.Module.CID(),
		State: g.State.Word(), Since: api.Time(g.Came), Gas: g.Gas,
	}
	if g.Wall > 0 {
		v.WallMS = millis(g.Wall, true)
	}
	return v
}

func viewStay(s guests.Stay) api.Guest {
	v := api.Guest{
		Requester: s.Requester.String(), Name: s.Name, Task: s.Task, Module: s.Module.CID(),
		State: protocol.StateDone.Word(), Since: api.Time(s.Began), Ended: moment(s.Ended),
		Code: string(s.Code), WallMS: millis(s.Wall, true), Gas: s.Gas,
	}
	switch s.Code {
	case "":
		v.Exit = &s.Exit
	case protocol.CodeCancelled, protocol.CodeShutdown:
		v.State = protocol.StateCancelled.Word()
	case protocol.CodeHandedOver, protocol.CodeBlocked:
		v.State = "handed-over"
	default:
		if !s.Code.EndsGuest() {
			v.State = protocol.StateFailed.Word()
		}
	}
	return v
}

func moment(t time.Time) *api.Time {
	if t.IsZero() {
		return nil
	}
	at := api.Time(t)
	return &at
}

// donated is what has run here for all others.
func (n *Node) donated() api.Donated {
	f := n.guests.Figures()
	return api.Donated{Tasks: f.Donated.Tasks, SlotMS: uint64(f.Donated.Wall().Milliseconds()), Gas: f.Donated.Gas, Since: api.Time(f.Since)}
}

// Known returns the requesters of whom a total is kept.
func (h host) Known() (list []string) {
	for _, t := range h.guests.Totals() {
		list = append(list, t.Requester.String())
	}
	return list
}

// Access tells whose tasks may run here.
func (h host) Access() api.Access { return h.accessNow() }

func (n *Node) accessNow() api.Access {
	l := n.access.Lists()
	a := api.Access{Mode: "all"}
	if l.Closed {
		a.Mode = "allowed"
	}
	for _, p := range guests.ByTime(l.Blocked) {
		e := l.Blocked[p]
		a.Blocked = append(a.Blocked, api.Blocked{Peer: p.String(), Since: api.Time(e.Since), Why: e.Why})
	}
	for _, p := range guests.ByTime(l.Allowed) {
		a.Allowed = append(a.Allowed, api.Allowed{Peer: p.String(), Since: api.Time(l.Allowed[p].Since)})
	}
	return a
}

// Change changes whose tasks may run here. What runs here of those who may no
// longer goes elsewhere, and so does what runs of this node at who is blocked.
func (h host) Change(c api.AccessChange) (api.Access, error) {
	var err error
	now := time.Now()
	switch c.Verb {
	case api.Block:
		err = h.access.Block(c.Peer, c.Why, now)
	case api.Unblock:
		err = h.access.Unblock(c.Peer)
	case api.Allow:
		err = h.access.Allow(c.Peer, now)
	case api.Disallow:
		err = h.access.Disallow(c.Peer)
	}
	if err != nil {
		return h.accessNow(), err
	}
	h.provider.Expel()
	if c.Verb == api.Block {
		h.requester.Leave(c.Peer)
		h.network.Exchange().Drop(c.Peer)
	}
	return h.accessNow(), nil
}
