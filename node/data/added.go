package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

const (
	// announceEvery is how often members are told where added data are, and
	// announceJitter what is added at random; records last a quarter of an hour.
	announceEvery  = 2 * time.Minute
	announceJitter = time.Minute
	// announceSoon is when they are told after a start, or in vain.
	announceSoon = 3 * time.Second
	// announceAtOnce is how many are announced at once.
	announceAtOnce = 8
	// maxFound bounds the members that are asked for data.
	maxFound = 8
)

// Kept is the store's part that remembers what was added.
type Kept interface {
	Added() (*protocol.AddedList, error)
	SaveAdded(list *protocol.AddedList) error
}

// load takes up what was added before.
func (d *Data) load() error {
	list, err := d.cfg.Kept.Added()
	if err != nil {
		return err
	}
	for _, a := range list.Added {
		if _, err := d.keep(a); err != nil {
			d.cfg.Logger.Warn("what was added is not here any more", "name", a.Name, "err", err)
		}
		if len(a.Digest) == len(protocol.Digest{}) { // or the file is damaged
			d.added = append(d.added, a)
		}
	}
	return nil
}

// keep keeps the blobs of what was added, and lets every member read them.
func (d *Data) keep(a *protocol.Added) (*protocol.Listing, error) {
	sum, err := protocol.DigestFrom(a.Digest)
	if err != nil {
		return nil, err
	}
	l, err := d.contents(sum, a.Listing)
	if err != nil {
		return nil, err
	}
	k := new(kept)
	if a.Listing {
		k.blobs = append(k.blobs, sum)
	}
	for _, f := range l.Files {
		if !d.cfg.Blobs.Has(f.Blob.Sum()) {
			return nil, protocol.Errorf(protocol.CodeBlob, "the file %s is not here", protocol.SafeText(f.Path))
		}
		k.blobs = append(k.blobs, f.Blob.Sum())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range k.blobs {
		d.public[b]++
		k.unpin = append(k.unpin, d.cfg.Blobs.Pin(b))
	}
	d.keeps[protocol.DataCID(sum, a.Listing)] = k
	return l, nil
}

func (d *Data) isKept(a *protocol.Added) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keeps[protocol.DataCID(protocol.Digest(a.Digest), a.Listing)] != nil
}

// kept is what keeps one file or directory.
type kept struct {
	blobs []protocol.Digest
	unpin []func()
}

// contents reads what a CID names and is here: of a file, a listing of itself.
func (d *Data) contents(sum protocol.Digest, listing bool) (*protocol.Listing, error) {
	f, size, err := d.cfg.Blobs.Open(sum)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !listing {
		return &protocol.Listing{Files: []*protocol.File{{Blob: &protocol.Blob{Digest: sum[:], Size: uint64(size)}}}}, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, protocol.MaxListing+1))
	if err != nil {
		return nil, err
	}
	return protocol.ParseListing(b)
}

func parse(cid string) (protocol.Digest, bool, error) {
	sum, listing, err := protocol.ParseDataCID(cid)
	if err != nil {
		return sum, false, protocol.Errorf(protocol.CodeBadRequest, "%.100q is no CID of data", cid).WithHint("'spare add' prints one")
	}
	return sum, listing, nil
}

// Add keeps data, whose blobs are here, for the network: members who know the
// CID may read them.
func (d *Data) Add(cid, name string) (*protocol.Added, error) {
	sum, listing, err := parse(cid)
	if err != nil {
		return nil, err
	}
	d.adding.Lock()
	defer d.adding.Unlock()
	if i := d.at(sum, listing); i >= 0 {
		if !d.isKept(d.added[i]) { // it had gone, and is here again
			if _, err := d.keep(d.added[i]); err != nil {
				return nil, err
			}
		}
		return d.added[i], nil
	}
	if len(d.added) >= protocol.MaxAdded {
		return nil, protocol.Errorf(protocol.CodeRefused, "this node keeps %d files and directories already", len(d.added)).
			WithHint("remove some with 'spare add --remove CID', or add a directory instead of its files")
	}
	a := &protocol.Added{Digest: sum[:], Listing: listing, Name: protocol.SafeText(name), AddedUnixMs: time.Now().UnixMilli()}
	l, err := d.keep(a)
	if err != nil {
		return nil, err
	}
	a.Files = uint32(len(l.Files))
	for _, f := range l.Files {
		a.Size += f.Blob.Size
	}
	if err := d.save(append(slices.Clone(d.added), a)); err != nil {
		d.release(protocol.DataCID(sum, listing))
		return nil, err
	}
	select {
	case d.news <- struct{}{}:
	default: // it will be announced
	}
	return a, nil
}

// at is where among what was added these data are, or -1. It is called with
// adding held, as is save.
func (d *Data) at(sum protocol.Digest, listing bool) int {
	return slices.IndexFunc(d.added, func(a *protocol.Added) bool { return protocol.Digest(a.Digest) == sum && a.Listing == listing })
}

func (d *Data) save(list []*protocol.Added) error {
	if err := d.cfg.Kept.SaveAdded(&protocol.AddedList{Added: list}); err != nil {
		return err
	}
	d.added = list
	return nil
}

// release undoes keep.
func (d *Data) release(cid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.keeps[cid]
	if k == nil {
		return // it was not here any more
	}
	delete(d.keeps, cid)
	for i, b := range k.blobs {
		k.unpin[i]()
		if d.public[b]--; d.public[b] == 0 {
			delete(d.public, b)
			for _, shelf := range d.held {
				for _, a := range shelf.Keys() {
					if a.key == (key{b, everybody}) {
						shelf.Remove(a)
					}
				}
			}
			d.known.Remove(key{b, everybody})
		}
	}
}

// Added returns what the node keeps for its network, the oldest first.
func (d *Data) Added() []*protocol.Added {
	d.adding.Lock()
	defer d.adding.Unlock()
	list := make([]*protocol.Added, 0, len(d.added))
	for _, a := range d.added {
		list = append(list, proto.CloneOf(a))
	}
	return list
}

// Remove keeps data no longer, which then go when room is needed.
func (d *Data) Remove(cid string) error {
	sum, listing, err := parse(cid)
	if err != nil {
		return err
	}
	d.adding.Lock()
	defer d.adding.Unlock()
	i := d.at(sum, listing)
	if i < 0 {
		return protocol.Errorf(protocol.CodeNotFound, "this node keeps no %s", cid).WithHint("'spare add --list' says what it keeps")
	}
	if err := d.save(slices.Delete(slices.Clone(d.added), i, i+1)); err != nil {
		return err
	}
	d.release(protocol.DataCID(sum, listing))
	return nil
}

// Get brings data from members that have announced them, all files of a
// directory included, and returns what they are. Of a file that is a listing of
// one file without a path.
func (d *Data) Get(ctx context.Context, cid string) (*protocol.Listing, error) {
	sum, listing, err := parse(cid)
	if err != nil {
		return nil, err
	}
	var from []peer.ID // looked for when need be, and once
	find := func() []peer.ID {
		if from == nil {
			from = d.cfg.Network.Holders(ctx, sum, maxFound)
			rand.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		}
		return from
	}
	most := uint64(protocol.MaxBlob)
	if listing {
		most = protocol.MaxListing
	}
	if err := d.get(ctx, sum, 0, most, find); err != nil {
		return nil, err
	}
	l, err := d.contents(sum, listing)
	if err != nil {
		return nil, err
	}
	for _, f := range l.Files {
		if err := d.get(ctx, f.Blob.Sum(), f.Blob.Size, f.Blob.Size, find); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// get brings one blob, of at least and at most so many bytes, that every member may
// read.
func (d *Data) get(ctx context.Context, sum protocol.Digest, least, most uint64, find func() []peer.ID) error {
	if d.cfg.Blobs.Has(sum) {
		return nil // on whatever account: it is for this node's own user
	}
	err := d.once(ctx, arrival{key{sum, everybody}, d.cfg.Self}, func(c *coming) error {
		holders := find()
		if len(holders) == 0 {
			return protocol.Errorf(protocol.CodeNotFound, "no member is known to have %s", sum.CID()).
				WithHint("the node where it was added must be up; a new one is known after some seconds")
		}
		var errs []error
		for i, p := range holders {
			// Each is believed in its turn: what it says to be the leaves may be wrong.
			err := d.getFrom(ctx, c, p, least, most, slices.Concat(holders[:i], holders[i+1:]))
			if err == nil || ctx.Err() != nil {
				return err
			}
			errs = append(errs, err)
		}
		return protocol.Errorf(protocol.CodeBlob, "%s did not come from any of %d members: %v", sum.CID(), len(holders), errors.Join(errs...))
	})
	if errors.Is(err, errElsewhere) {
		return nil // it has come meanwhile
	}
	return err
}

func (d *Data) getFrom(ctx context.Context, c *coming, p peer.ID, least, most uint64, others []peer.ID) error {
	reply, err := d.greet(ctx, p, originTimeout, &protocol.TreeRequest{Digest: c.blob[:]})
	if err != nil {
		return err
	}
	if reply.Size < least || reply.Size > most {
		return fmt.Errorf("%w: a blob of %d bytes is not of %d to %d", protocol.ErrMalformed, reply.Size, least, most)
	}
	tree, err := protocol.ParseTree(reply.Size, reply.Leaves)
	if err != nil {
		return err
	}
	from := source{origin: p, others: make(map[peer.ID]struct{})}
	for _, other := range others {
		from.others[other] = struct{}{}
	}
	return d.bring(ctx, c, tree, from)
}

// Run announces what was added until ctx ends.
func (d *Data) Run(ctx context.Context) error {
	timer := time.NewTimer(announceSoon)
	defer timer.Stop()
	again := true // soon after the first time: more members are known then
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.news:
			again = true
		case <-timer.C:
		}
		next := announceEvery + rand.N(announceJitter)
		if again {
			next, again = announceSoon, false
		}
		if !d.announce(ctx) {
			next = announceSoon
		}
		timer.Reset(next)
	}
}

// announce tells where all that is kept is, a few at a time: one may take seconds,
// and all of it must be told again before it is forgotten.
func (d *Data) announce(ctx context.Context) bool {
	var failed atomic.Bool
	var g errgroup.Group
	g.SetLimit(announceAtOnce)
	for _, a := range d.Added() {
		if !d.isKept(a) {
			continue
		}
		g.Go(func() error {
			if err := d.cfg.Network.Announce(ctx, protocol.Digest(a.Digest)); err != nil {
				d.cfg.Logger.Debug("data cannot be announced", "err", err)
				failed.Store(true)
			}
			return nil
		})
	}
	_ = g.Wait() // always nil
	return !failed.Load()
}
