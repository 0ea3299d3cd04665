package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/protocol"
)

const (
	capabilityNamespace = "cap"
	// recordAge bounds how long a DHT record is kept and served.
	recordAge = 15 * time.Minute
	// advertiseEvery is when records are renewed, which takes a hundred messages or
	// so, if no [Mesh.Advertise] has done it, and advertiseJitter what is added at
	// random.
	advertiseEvery  = 10 * time.Minute
	advertiseJitter = time.Minute
	// advertiseAgain is when the first advertisement is repeated: the routing
	// table then knows more than the peer that was met first.
	advertiseAgain   = 5 * time.Second
	advertiseTimeout = 15 * time.Second
	refreshEvery     = 10 * time.Minute // as by default

	// findTimeout is how long providers are looked for. The first are found
	// in some 60 ms; the lookup itself would go on for seconds.
	findTimeout = 300 * time.Millisecond
	// fetchTimeout bounds the fetching of their records.
	fetchTimeout = time.Second
	// maxFound is how many providers one lookup yields at most.
	maxFound = 32
)

// classes are the capacity classes by which providers are found: a provider is
// in each whose memory it can give to one task, and in the first always.
// Few of them, since each is a record to be renewed by each provider.
var classes = []uint64{0, 256 << 20, 1 << 30, 4 << 30}

// directory is the DHT with this node's entry in it.
type directory struct {
	self    peer.ID
	net     protocol.NetworkID
	dht     *dht.IpfsDHT
	changed chan struct{} // holds a token when the entry is to be written
	reached atomic.Int64  // how many peers the routing table had when it was written last

	mu    sync.Mutex
	entry *entry
}

// entry is what this node advertises.
type entry struct {
	record []byte // a SignedOffer without load
	memory uint64
}

func newDirectory(h host.Host, id protocol.NetworkID) (*directory, error) {
	d, err := dht.New(h,
		// Never another mode: on loopback an automatic one stays a client.
		dht.Mode(dht.ModeServer),
		dht.ProtocolPrefix(id.DHTPrefix()),
		// With the defaults, and one peer in five silently dead, advertising
		// takes 5 to 10 s instead of 0.15.
		dht.BucketSize(8),
		// Each refresh asks all peers several times over, which a node with nothing
		// to do need not do twice a minute. Who has gone is found out by the first
		// query that meets him as well.
		dht.RoutingTableRefreshPeriod(refreshEvery),
		dht.RoutingTableRefreshQueryTimeout(3*time.Second),
		dht.Datastore(newBoundedRecords()),
		dht.Validator(record.NamespacedValidator{capabilityNamespace: capabilityValidator{id}}),
		dht.MaxRecordAge(recordAge),
		dht.ValueGCInterval(time.Minute),
		dht.ProviderManagerOpts(
			records.ProvideValidity(recordAge),
			records.ProviderAddrTTL(recordAge),
			records.CleanupInterval(time.Minute),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("open DHT: %w", err)
	}
	return &directory{self: h.ID(), net: id, dht: d, changed: make(chan struct{}, 1)}, nil
}

func (d *directory) close() error { return d.dht.Close() }

// Advertise puts this node into the DHT: so, its offer without a load, as its
// capability record, and the node under each capacity class that it can serve.
// It returns at once. [Mesh.Run] writes the entry when there are peers to
// write it to, and renews it until the next Advertise; the caller signs a new
// one before the TTL of so has passed.
func (m *Mesh) Advertise(_ context.Context, so *protocol.SignedOffer) error {
	o, data, err := m.own(so)
	if err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	if o.Load != nil {
		return errors.New("advertise: a capability record has no load")
	}
	d := m.directory
	d.mu.Lock()
	d.entry = &entry{record: data, memory: o.MemoryBytes}
	d.mu.Unlock()
	d.rewrite()
	return nil
}

// rewrite has the entry written soon.
func (d *directory) rewrite() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// noteMember has the entry written again when the network has grown to twice what
// it was: those who keep it by then may not be the nearest any more.
func (d *directory) noteMember() {
	if before := d.reached.Load(); before > 0 && int64(d.dht.RoutingTable().Size()) >= 2*before {
		d.rewrite()
	}
}

// run writes and renews this node's entry.
func (d *directory) run(ctx context.Context, log *slog.Logger) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 200*time.Millisecond, 15*time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	var written bool // this node's entry has been written once
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.changed:
		case <-timer.C:
		}
		next := advertiseEvery + rand.N(advertiseJitter)
		switch err := d.write(ctx); {
		case errors.Is(err, errNoEntry): // Advertise wakes us
		case err != nil:
			next = retry.NextBackOff()
			log.Debug("advertise failed", "error", err, "retry_in", next)
		default:
			retry.Reset()
			if !written {
				written, next = true, advertiseAgain
			}
		}
		timer.Reset(next)
	}
}

var (
	errNoEntry = errors.New("nothing to advertise")
	errNoPeers = errors.New("no peers in the routing table")
)

func (d *directory) write(ctx context.Context) error {
	d.mu.Lock()
	e := d.entry
	d.mu.Unlock()
	if e == nil {
		return errNoEntry
	}
	reached := d.dht.RoutingTable().Size()
	if reached == 0 {
		return errNoPeers
	}
	d.reached.Store(int64(reached))
	ctx, cancel := context.WithTimeout(ctx, advertiseTimeout)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := d.dht.PutValue(ctx, capabilityKey(d.self), e.record); err != nil {
			return fmt.Errorf("put capability record: %w", err)
		}
		return nil
	})
	for i, memory := range classes {
		if e.memory < memory {
			continue
		}
		g.Go(func() error {
			if err := d.dht.Provide(ctx, d.rendezvous(i), true); err != nil {
				return fmt.Errorf("provide capacity class: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Discover looks in the DHT for providers that can give memoryBytes to a task
// and puts those that the Book lacks into it. It takes 1.3 s at most.
func (m *Mesh) Discover(ctx context.Context, memoryBytes uint64) error {
	if m.directory.dht.RoutingTable().Size() == 0 {
		return protocol.Errorf(protocol.CodeNoPeers, "no peers are connected").
			WithHint("start this node with --bootstrap and the address of a member")
	}
	fetching, cancel := context.WithTimeout(ctx, findTimeout+fetchTimeout)
	defer cancel()
	finding, stop := context.WithTimeout(ctx, findTimeout)
	defer stop()
	var g errgroup.Group
	g.SetLimit(8)
	for p := range m.directory.dht.FindProvidersAsync(finding, m.directory.rendezvous(classFor(memoryBytes)), maxFound) {
		// What the Book has is fresher, and may have a load.
		if _, known := m.book.Get(time.Now(), p.ID); known || p.ID == m.self {
			continue
		}
		g.Go(func() error {
			data, err := m.directory.dht.GetValue(fetching, capabilityKey(p.ID), dht.Quorum(1))
			if err != nil {
				return nil // one provider fewer; the others count
			}
			if author, so, o, err := openOffer(m.net, data); err == nil && author == p.ID {
				m.book.Put(time.Now(), author, so, o, m.connected(author))
			}
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return ctx.Err()
}

// dataTimeout bounds one look for who has data, or one announcement.
const dataTimeout = 5 * time.Second

// Announce tells the DHT that this node has data with this digest. It does so for
// a quarter of an hour, unless it is told again.
func (m *Mesh) Announce(ctx context.Context, d protocol.Digest) error {
	if m.directory.dht.RoutingTable().Size() == 0 {
		return errNoPeers
	}
	ctx, cancel := context.WithTimeout(ctx, dataTimeout)
	defer cancel()
	return m.directory.dht.Provide(ctx, m.directory.dataKey(d), true)
}

// Holders returns up to max members that have announced data with this digest.
func (m *Mesh) Holders(ctx context.Context, d protocol.Digest, max int) (list []peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, dataTimeout)
	defer cancel()
	for p := range m.directory.dht.FindProvidersAsync(ctx, m.directory.dataKey(d), max) {
		if p.ID != m.self {
			list = append(list, p.ID)
		}
	}
	return list
}

// dataKey is where those who have data are found. It does not tell the digest,
// which is all that one must know to read them.
func (d *directory) dataKey(digest protocol.Digest) cid.Cid {
	return hashed("spare/" + d.net.String() + "/data/" + digest.String())
}

// classFor returns the highest capacity class that has every provider that can
// give memory: the Book's ceilings decide about those that cannot.
func classFor(memory uint64) int {
	best := 0
	for i, m := range classes {
		if m <= memory {
			best = i
		}
	}
	return best
}

// rendezvous is where the providers of a capacity class are found.
func (d *directory) rendezvous(class int) cid.Cid {
	return hashed("spare/" + d.net.String() + "/memory/" + strconv.FormatUint(classes[class], 10))
}

func hashed(name string) cid.Cid {
	digest := protocol.DigestOf([]byte(name))
	mh, err := multihash.Encode(digest[:], multihash.SHA2_256)
	if err != nil {
		panic("mesh: a sha2-256 is always a valid multihash: " + err.Error())
	}
	return cid.NewCidV1(cid.Raw, mh)
}

func capabilityKey(p peer.ID) string { return "/" + capabilityNamespace + "/" + p.String() }

// capabilityValidator decides which capability records the DHT keeps.
type capabilityValidator struct{ net protocol.NetworkID }

// Validate accepts the record of the provider that key names, while it is valid.
func (v capabilityValidator) Validate(key string, value []byte) error {
	author, _, o, err := openOffer(v.net, value)
	switch {
	case err != nil:
		return err
	case capabilityKey(author) != key:
		return fmt.Errorf("%w: capability record of %s under another key", protocol.ErrMalformed, author)
	case o.Load != nil:
		return fmt.Errorf("%w: capability record with a load", protocol.ErrMalformed)
	case outlived(time.Now(), o):
		return errors.New("capability record has expired")
	}
	return nil
}

// Select picks the record with the highest sequence.
func (v capabilityValidator) Select(_ string, values [][]byte) (int, error) {
	best, highest := -1, uint64(0)
	for i, value := range values {
		if _, _, o, err := openOffer(v.net, value); err == nil && (best < 0 || o.Sequence > highest) {
			best, highest = i, o.Sequence
		}
	}
	if best < 0 {
		return 0, fmt.Errorf("%w: no valid capability record", protocol.ErrMalformed)
	}
	return best, nil
}
