package swarm

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ipfs/boxo/bitswap/server"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// maxGuests bounds the peers to whom one blob is open.
const maxGuests = 256

// Leaves is what is here of a blob. Its methods may be called from many
// goroutines.
type Leaves interface {
	HasLeaf(i int) bool
	ReadLeaf(i int) ([]byte, error)
}

// Share is a blob, or what is here of it, that is served to those peers to whom
// it is open.
type Share struct {
	x      *Exchange
	scope  string
	tree   *protocol.Tree
	leaves Leaves
	cids   []cid.Cid // of each leaf

	open map[peer.ID]time.Time // until when; guarded by the Exchange's mu
}

// leaf is one leaf of a share.
type leaf struct {
	share *Share
	i     int
}

// Share serves what is here of a blob, to nobody yet. The scope says on whose
// account it is here. Who may read a blob of one scope must not learn of a leaf
// that is here for another's alone: whoever knows the digest of one could name it.
func (x *Exchange) Share(scope string, tree *protocol.Tree, leaves Leaves) *Share {
	s := &Share{x: x, scope: scope, tree: tree, leaves: leaves, open: make(map[peer.ID]time.Time)}
	for _, d := range tree.Leaves {
		s.cids = append(s.cids, leafCID(d))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, c := range s.cids {
		// Leaves of equal bytes are one: a blob of zeros has thousands.
		if list := x.index[c]; len(list) == 0 || list[len(list)-1].share != s {
			x.index[c] = append(list, leaf{s, i})
		}
	}
	return s
}

// Open lets a peer read the blob until then.
func (s *Share) Open(to peer.ID, until time.Time) {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	makeRoom(s.open, maxGuests)
	s.open[to] = until
	makeRoom(s.x.guests, 16*maxGuests)
	if s.x.guests[to].Before(until) {
		s.x.guests[to] = until
	}
}

// makeRoom forgets those whose time is over and then, while there are too many,
// any.
func makeRoom(open map[peer.ID]time.Time, most int) {
	if len(open) < most {
		return
	}
	now := time.Now()
	for p, until := range open {
		if now.After(until) {
			delete(open, p)
		}
	}
	for p := range open {
		if len(open) < most {
			return
		}
		delete(open, p)
	}
}

// Close serves the blob no longer.
func (s *Share) Close() {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	var last cid.Cid
	for _, c := range s.cids {
		if c == last { // runs of equal leaves are long
			continue
		}
		last = c
		rest := slices.DeleteFunc(s.x.index[c], func(l leaf) bool { return l.share == s })
		if len(rest) == 0 {
			delete(s.x.index, c)
		} else {
			s.x.index[c] = rest
		}
	}
}

// leaves returns where a leaf is, or is to be, and whether that is of one scope.
func (x *Exchange) leaves(c cid.Cid) (list []leaf, one bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list = slices.Clone(x.index[c])
	return list, !slices.ContainsFunc(list, func(l leaf) bool { return l.share.scope != list[0].share.scope })
}

// mayRead reports whether a leaf is of a blob that is open to the peer. Whether
// it is here is another question, unless a blob of another scope has it, too.
func (x *Exchange) mayRead(p peer.ID, c cid.Cid) bool {
	list, one := x.leaves(c)
	return slices.ContainsFunc(list, func(l leaf) bool { return l.share.isOpen(p) && (one || l.share.leaves.HasLeaf(l.i)) })
}

// maySend reports whether a leaf is here for a scope of which a blob with that
// leaf is open to the peer now.
func (x *Exchange) maySend(p peer.ID, c cid.Cid) bool {
	list, _ := x.leaves(c)
	scopes := make(map[string]struct{})
	for _, l := range list {
		if l.share.isOpen(p) {
			scopes[l.share.scope] = struct{}{}
		}
	}
	return slices.ContainsFunc(list, func(l leaf) bool {
		_, open := scopes[l.share.scope]
		return open && l.share.leaves.HasLeaf(l.i)
	})
}

func (s *Share) isOpen(p peer.ID) bool {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	return time.Now().Before(s.open[p]) && (s.x.denied == nil || !s.x.denied(p))
}

// announce tells those who want a leaf that it is here now. Who wants it has
// been asked for the blob that it came for, or for another of the same scope, or
// wanted it of one that was closed since: that is found out when it is sent.
func (x *Exchange) announce(ctx context.Context, b blocks.Block) {
	if _, one := x.leaves(b.Cid()); one {
		x.engine.tell(func(s *server.Server) { _ = s.NotifyNewBlocks(ctx, b) }) // it never fails
	}
}

// find returns where a leaf is that is here.
func (x *Exchange) find(c cid.Cid) (leaf, error) {
	list, _ := x.leaves(c)
	for _, l := range list {
		if l.share.leaves.HasLeaf(l.i) {
			return l, nil
		}
	}
	return leaf{}, ipld.ErrNotFound{Cid: c}
}

// view is the Exchange as a blockstore that bitswap's server reads: the leaves
// of all shares, none of which is kept a second time.
type view Exchange

var errReadOnly = errors.New("swarm: leaves are only read")

func (v *view) Has(_ context.Context, c cid.Cid) (bool, error) {
	_, err := (*Exchange)(v).find(c)
	return err == nil, nil
}

func (v *view) GetSize(_ context.Context, c cid.Cid) (int, error) {
	l, err := (*Exchange)(v).find(c)
	if err != nil {
		return 0, err
	}
	_, size := l.share.tree.Leaf(l.i)
	return size, nil
}

func (v *view) Get(_ context.Context, c cid.Cid) (blocks.Block, error) {
	l, err := (*Exchange)(v).find(c)
	if err != nil {
		return nil, err
	}
	b, err := l.share.leaves.ReadLeaf(l.i)
	if err != nil {
		return nil, ipld.ErrNotFound{Cid: c} // it has gone meanwhile
	}
	return blocks.NewBlockWithCid(b, c) // who receives it checks it
}

func (*view) Put(context.Context, blocks.Block) error       { return errReadOnly }
func (*view) PutMany(context.Context, []blocks.Block) error { return errReadOnly }
func (*view) DeleteBlock(context.Context, cid.Cid) error    { return errReadOnly }

func (*view) AllKeysChan(context.Context) (<-chan cid.Cid, error) { return nil, errReadOnly }
