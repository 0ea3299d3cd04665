package apitest

import (
	"slices"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// Gone is the peer ID of one who was here once and is known no more.
const Gone = "12D3KooWRBhwfeP2Y4TCx1SM6s9rUoHhR5STiGwxBhgFRcw3UERE"

func donated() api.Donated {
	return api.Donated{Tasks: 12, SlotMS: 5_400_000, Gas: 3e12, Since: api.Time(Submitted)}
}

// Guests are one that runs, two that have run, and totals of two requesters.
func (n *Node) Guests(after string, limit int) (api.Guests, error) {
	n.mu.Lock()
	access := n.access()
	n.mu.Unlock()
	wall, short, exit, ended := 90_000.0, 12.5, int32(3), api.Time(Submitted)
	g := api.Guests{
		Now: []api.Guest{{
			Requester: Other, Name: "evil\x1b[31m.wasm", Task: "kkkkkkkkkk", Module: protocol.DigestOf(nil).CID(), State: "running",
			Since: api.Time(Submitted), WallMS: &wall, Gas: 2e9,
		}},
		Lately: []api.Guest{
			{
				Requester: Gone, Name: "late.wasm", Task: "llllllllll", Module: protocol.DigestOf(nil).CID(), State: "done",
				Since: api.Time(Submitted.Add(-time.Minute)), Ended: &ended, Exit: &exit, WallMS: &short, Gas: 1000,
			},
			{
				Requester: Other, Name: "slow.wasm", Task: "mmmmmmmmmm", Module: protocol.DigestOf(nil).CID(), State: "handed-over",
				Since: api.Time(Submitted.Add(-time.Hour)), Ended: &ended, Code: "E-HANDED-OVER", WallMS: &wall, Gas: 5,
			},
		},
		Others: api.GuestTotal{Requesters: 2, Tasks: 3, WallMS: 1000, Gas: 7}, Donated: donated(),
	}
	totals := []api.GuestTotal{
		{Requester: Other, Requesters: 1, Tasks: 8, WallMS: 5_000_000, Gas: 2e12, Last: &ended, Access: access.Of(Other)},
		{Requester: Gone, Requesters: 1, Tasks: 1, WallMS: 399_000, Gas: 1e12, Last: &ended, Access: access.Of(Gone)},
	}
	if after != "" {
		i := slices.IndexFunc(totals, func(t api.GuestTotal) bool { return t.Requester == after })
		if i < 0 {
			return g, protocol.Errorf(protocol.CodeNotFound, "no total is kept of %q", after)
		}
		totals = totals[i+1:]
	}
	if len(totals) > limit {
		totals = totals[:limit]
		g.Next = totals[limit-1].Requester
	}
	g.Totals = totals
	return g, nil
}

// Known are those of whom there is a total.
func (n *Node) Known() []string { return []string{Other, Gone} }

// Access tells what was decided so far.
func (n *Node) Access() api.Access {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.access()
}

func (n *Node) access() api.Access {
	a := n.who
	if a.Mode == "" {
		a.Mode = "all"
	}
	a.Blocked, a.Allowed = slices.Clone(a.Blocked), slices.Clone(a.Allowed)
	return a
}

// Change changes it, as of [Submitted].
func (n *Node) Change(c api.AccessChange) (api.Access, error) {
	id := c.Peer.String()
	if id == Self {
		return api.Access{}, protocol.Errorf(protocol.CodeBadRequest, "%s is this node itself", id)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	unblock := func() {
		n.who.Blocked = slices.DeleteFunc(n.who.Blocked, func(b api.Blocked) bool { return c.Peer == "" || b.Peer == id })
	}
	disallow := func() {
		n.who.Allowed = slices.DeleteFunc(n.who.Allowed, func(b api.Allowed) bool { return c.Peer == "" || b.Peer == id })
	}
	switch {
	case c.Verb == api.Block:
		unblock()
		disallow()
		n.who.Blocked = slices.Insert(n.who.Blocked, 0, api.Blocked{Peer: id, Since: api.Time(Submitted), Why: c.Why})
	case c.Verb == api.Unblock:
		unblock()
	case c.Verb == api.Allow && c.Peer == "":
		disallow()
		n.who.Mode = "all"
	case c.Verb == api.Allow:
		unblock()
		disallow()
		n.who.Mode = "allowed"
		n.who.Allowed = slices.Insert(n.who.Allowed, 0, api.Allowed{Peer: id, Since: api.Time(Submitted)})
	case c.Verb == api.Disallow:
		disallow()
	}
	return n.access(), nil
}
