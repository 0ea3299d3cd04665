package api

import (
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// What an owner may decide about a peer.
const (
	Block    = "block"
	Unblock  = "unblock"
	Allow    = "allow"
	Disallow = "disallow"
)

// Access is whose tasks may run here. The node's own always may.
type Access struct {
	Mode    string    `json:"mode" doc:"all: those of all members but the blocked ones; allowed: only those of the allowed ones"`
	Blocked []Blocked `json:"blocked" doc:"Nothing of theirs runs here, nothing of this node runs there, and they are given no blobs; the latest first"`
	Allowed []Allowed `json:"allowed" doc:"The latest first"`
}

// Blocked is a peer that this node's owner wants nothing to do with.
type Blocked struct {
	Peer  string `json:"peer"`
	Since Time   `json:"since"`
	Why   string `json:"why" doc:"What the peer is told; may be empty"`
}

// Allowed is a peer whose tasks may run here while others' may not.
type Allowed struct {
	Peer  string `json:"peer"`
	Since Time   `json:"since"`
}

func (a Access) some() Access {
	a.Blocked, a.Allowed = some(a.Blocked), some(a.Allowed)
	return a
}

// Of returns what is said of a peer by name: blocked, allowed, or nothing.
func (a *Access) Of(id string) string {
	switch {
	case slices.ContainsFunc(a.Blocked, func(b Blocked) bool { return b.Peer == id }):
		return "blocked"
	case slices.ContainsFunc(a.Allowed, func(b Allowed) bool { return b.Peer == id }):
		return "allowed"
	}
	return ""
}

// AccessOrder is what the owner says of a peer.
type AccessOrder struct {
	Peer string `json:"peer,omitempty" maxLength:"128" doc:"A peer ID, or the beginning of one that is known; empty with all"`
	Why  string `json:"why,omitempty" maxLength:"256" doc:"Why it is blocked, which it is told"`
	All  bool   `json:"all,omitempty" doc:"Of allow: tasks of all members may run here again, but for blocked ones. Of the others: every peer on the list"`
}

// AccessChange is the same with a whole peer ID.
type AccessChange struct {
	Verb string  // one of [Block], [Unblock], [Allow] and [Disallow]
	Peer peer.ID // empty: all
	Why  string
}

// changeAccess has the owner's word on a peer followed.
func (s *Server) changeAccess(verb string, order AccessOrder) (Access, error) {
	change := AccessChange{Verb: verb, Why: protocol.SafeText(strings.TrimSpace(order.Why))}
	switch {
	case order.All && order.Peer != "":
		return Access{}, protocol.Errorf(protocol.CodeBadRequest, "peer and all exclude each other")
	case order.All && verb == Block:
		return Access{}, protocol.Errorf(protocol.CodeBadRequest, "there is no block of all members").
			WithHint("'spare pause' runs nothing of others")
	case !order.All && order.Peer == "":
		return Access{}, protocol.Errorf(protocol.CodeBadRequest, "no peer is named").WithHint("'spare peers' and 'spare guests' list them")
	case change.Why != "" && verb != Block:
		return Access{}, protocol.Errorf(protocol.CodeBadRequest, "why is of a block")
	}
	if !order.All {
		id, err := s.namePeer(verb, order.Peer)
		if err != nil {
			return Access{}, err
		}
		change.Peer = id
	}
	return s.cfg.Host.Change(change)
}

// namePeer finds the one peer whose ID begins with prefix: for what is taken back
// among those of whom it was said, and else among all that are known, connected
// or not. A whole ID need not be known.
func (s *Server) namePeer(verb, prefix string) (peer.ID, error) {
	access := s.cfg.Host.Access()
	ids := make(map[string]struct{})
	for _, b := range access.Blocked {
		if verb != Disallow {
			ids[b.Peer] = struct{}{}
		}
	}
	for _, b := range access.Allowed {
		if verb != Unblock {
			ids[b.Peer] = struct{}{}
		}
	}
	if whole, err := wholePeer(prefix); err == nil {
		if _, said := ids[whole.String()]; !said && (verb == Unblock || verb == Disallow) {
			return "", notSaid(verb, whole.String())
		}
		return whole, nil
	}
	if verb == Block || verb == Allow {
		ids[s.self()] = struct{}{}
		for _, p := range s.cfg.Node.Peers() {
			ids[p.Peer] = struct{}{}
		}
		for _, id := range s.cfg.Host.Known() {
			ids[id] = struct{}{}
		}
	}
	var found []string
	for id := range ids {
		if isNamed(id, prefix) {
			found = append(found, id)
		}
	}
	switch {
	case len(found) > 1:
		return "", protocol.Errorf(protocol.CodeAmbiguous, "%d peer IDs begin with %q", len(found), protocol.SafeText(prefix)).
			WithHint("give more of it, see 'spare peers -o json'")
	case len(found) == 1:
		return peer.Decode(found[0])
	case verb == Unblock || verb == Disallow:
		return "", notSaid(verb, protocol.SafeText(prefix))
	}
	return "", protocol.Errorf(protocol.CodeNotFound, "no peer is known whose ID begins with %q", protocol.SafeText(prefix)).
		WithHint("see 'spare peers' and 'spare guests', or give the whole ID")
}

// wholePeer reads the ID of a node, which holds its public key. The beginning of one
// may by chance be an ID as well, of nobody.
func wholePeer(text string) (peer.ID, error) {
	id, err := peer.Decode(text)
	if err == nil {
		_, err = id.ExtractPublicKey()
	}
	return id, err
}

func notSaid(verb, id string) error {
	word := "blocked"
	if verb == Disallow {
		word = "on the list of those allowed"
	}
	return protocol.Errorf(protocol.CodeNotFound, "no peer %s is %s", id, word).WithHint("'spare access' shows who is")
}
