package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/data"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/node/guests"
	"github.com/spare-network/spare/node/job"
	"github.com/spare-network/spare/node/mesh"
	"github.com/spare-network/spare/node/provider"
	"github.com/spare-network/spare/node/requester"
	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// Info is what a user is told of a node that has started.
type Info struct {
	Peer          string
	Network       string
	SecretFile    string
	NewSecret     bool // it was made just now
	Addrs         []string
	DashboardLink string // opens the dashboard once; empty when it is off
	Slots         int
	MemoryBytes   uint64
	Donates       string // when
	Paused        string // why no tasks of others run here, or empty
}

const (
	// cacheName is the directory of compiled code in a home, and the name of
	// the key that authenticates it.
	cacheName = "cache"
	// queuePerSlot bounds what waits at a provider: enough to keep slots busy
	// with short tasks; long ones are kept away by the wait that loads tell.
	queuePerSlot = 32
)

// Node is one participant.
type Node struct {
	cfg       Config
	started   time.Time
	key       crypto.PrivKey
	self      peer.ID
	secret    protocol.NetworkSecret
	newSecret bool
	cpuHeld   atomic.Bool // whether the kernel keeps the workers' share of the CPUs
	following sync.Mutex  // of the donor
	begun     atomic.Uint64
	unmet     string // why tasks of others must not run in this sandbox, or empty

	book      *market.Book
	store     *store.Store
	donor     *donor.Donor
	sandbox   *sandbox.Pool
	network   *network
	ledger    *ledger
	guests    *guests.Ledger
	access    *guests.Access
	data      *data.Data
	provider  *provider.Provider
	requester *requester.Requester
	jobs      *job.Jobs
	api       *api.Server
}

// New opens the home and makes a node, and gives up when ctx ends meanwhile. The
// node serves nobody before Run, which must be called, since it closes what New
// has opened.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	if cfg.Ceilings == (Ceilings{}) {
		cfg.Ceilings = Default().Ceilings
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, book: market.NewBook(), started: time.Now()}
	var opened []func() error
	defer func() {
		if err != nil {
			for i := range opened {
				err = errors.Join(err, opened[len(opened)-1-i]())
			}
		}
	}()
	socket, err := api.SocketPath(cfg.Home)
	if err != nil {
		return nil, err
	}
	meshConfig, err := n.meshConfig()
	if err != nil {
		return nil, err
	}
	if n.store, err = store.Open(cfg.Home, store.Config{KeepTasks: int(cfg.KeepTasks), KeepJobs: int(cfg.KeepJobs), Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	opened = append(opened, n.store.Close)
	if err := n.readSecrets(); err != nil {
		return nil, err
	}
	if err := n.openSandbox(ctx); err != nil {
		return nil, err
	}
	opened = append(opened, n.sandbox.Close)
	if err := n.openHost(); err != nil {
		return nil, err
	}
	n.network = &network{self: n.self, blocked: n.access.Blocked, offered: make(chan struct{})}
	if err := n.makeRoles(); err != nil {
		return nil, err
	}
	token, err := n.store.APIToken()
	if err != nil {
		return nil, err
	}
	if n.api, err = api.New(api.Config{
		Token:     token,
		Socket:    socket,
		Group:     cfg.SocketGroup,
		Dashboard: cfg.Dashboard,
		Version:   cfg.Version,
		Tasks:     n.requester,
		Jobs:      n.jobs,
		Keeper:    view{n},
		Blobs:     n.store.Blobs(),
		Data:      n.data,
		Node:      view{n},
		Owner:     owner{n},
		Host:      host{n},
		Logger:    cfg.Logger,
	}); err != nil {
		return nil, err
	}
	opened = append(opened, n.api.Close)
	return n, n.openMesh(meshConfig)
}

// meshConfig checks the addresses before anything is opened.
func (n *Node) meshConfig() (mesh.Config, error) {
	cfg := mesh.Default()
	cfg.Network, cfg.Book, cfg.Logger = n.cfg.Network, n.book, n.cfg.Logger
	var errs [3]error
	if len(n.cfg.Listen) > 0 {
		cfg.Listen, errs[0] = parseAddrs(n.cfg.Listen)
	}
	cfg.Announce, errs[1] = parseAddrs(n.cfg.Announce)
	cfg.Bootstrap, errs[2] = parseAddrs(n.cfg.Bootstrap)
	for _, err := range errs {
		if err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

func parseAddrs(list []string) ([]multiaddr.Multiaddr, error) {
	var addrs []multiaddr.Multiaddr
	for _, s := range list {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeAddress, "%.100q is not a multiaddr: %v", s, err).
				WithHint("one looks like /ip4/127.0.0.1/tcp/4001 or /ip4/127.0.0.1/udp/4001/quic-v1")
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

func (n *Node) readSecrets() (err error) {
	if n.key, err = n.store.Identity(); err != nil {
		return err
	}
	if n.self, err = peer.IDFromPrivateKey(n.key); err != nil {
		return fmt.Errorf("peer ID: %w", err)
	}
	n.secret, n.newSecret, err = n.store.NetworkSecret(n.cfg.Network)
	return err
}

func (n *Node) openSandbox(ctx context.Context) error {
	limits := n.cfg.donor(donor.Measure(n.cfg.Logger))
	limits.Store, limits.Changed = n.store, n.donorChanged
	var err error
	if n.donor, err = donor.New(limits); err != nil {
		return err
	}
	capacity := n.donor.Capacity()
	key, err := n.store.Key(cacheName)
	if err != nil {
		return err
	}
	workers := n.cfg.sandbox(capacity)
	workers.Dir, workers.Key = filepath.Join(n.cfg.Home, cacheName), key
	if n.sandbox, err = sandbox.New(ctx, workers); err != nil {
		return err
	}
	n.unmet = unmet(n.sandbox.Missing(n.cfg.Require))
	n.bound()
	return nil
}

func (n *Node) makeRoles() (err error) {
	if n.ledger, err = openLedger(n.store, n.cfg.Logger); err != nil {
		return err
	}
	n.requester, err = requester.New(requester.Config{
		Self:      n.self,
		Key:       n.key,
		NetworkID: n.secret.ID(),
		Book:      n.book,
		Network:   n.network,
		Journal:   records{n.store, n},
		Blobs:     n.store.Blobs(),
		Standings: n.store,
		Ledger:    n.ledger,
		Verify:    n.cfg.Verify,
		Blocked:   n.access.Blocked,
		Begun:     n.noteBegun,
		Logger:    n.cfg.Logger,
	})
	if err == nil {
		err = n.makeData()
	}
	if err != nil {
		return err
	}
	capacity := n.donor.Capacity()
	n.provider, err = provider.New(provider.Config{
		Self:         n.self,
		Key:          n.key,
		NetworkID:    n.secret.ID(),
		Slots:        capacity.Slots,
		Queue:        queuePerSlot * capacity.Slots,
		Ceilings:     n.cfg.Ceilings.limits(capacity.MemoryBytes),
		ModuleBytes:  n.cfg.Ceilings.Module.Bytes,
		Speed:        capacity.Speed,
		Version:      n.cfg.Version,
		Arch:         capacity.Arch,
		Runner:       n.runner(),
		Blobs:        n.store.Blobs(),
		Results:      n.store,
		Ledger:       n.ledger,
		Network:      n.network,
		Data:         n.data,
		Availability: n.told,
		Access:       n.access.Denied,
		Begun:        n.noteBegun,
		Ended:        func(s provider.Stay) { n.guests.Add(guests.Stay(s)) },
		Members:      func() int { return len(n.book.Providers(time.Now())) },
		Labels:       n.cfg.Labels,
		Sequence:     n.store.OfferSequence,
		Logger:       n.cfg.Logger,
	})
	n.jobs = job.New(job.Config{Tasks: n.requester, Store: n.store, Slots: n.slots, Logger: n.cfg.Logger})
	return err
}

// records are the store's, and those of tasks that jobs keep.
type records struct {
	*store.Store
	*Node
}

// Task returns the task whose ID begins with prefix, or is JOB/INDEX.
func (r records) Task(prefix string) (*protocol.Task, error) {
	if _, index := protocol.TaskID(prefix).Split(); index > 0 {
		return r.jobs.Task(protocol.TaskID(prefix))
	}
	return r.Store.Task(prefix)
}

func (n *Node) openMesh(cfg mesh.Config) (err error) {
	cfg.Key, cfg.Secret, cfg.Metrics = n.key, n.secret, n.api.Metrics()
	if cfg.Remembered, err = n.store.Peers(); err != nil {
		return err
	}
	cfg.Remember = func(info peer.AddrInfo) {
		if err := n.store.RememberPeer(info, time.Now()); err != nil {
			n.cfg.Logger.Warn("cannot remember a peer", "err", err)
		}
	}
	if n.network.Mesh, err = mesh.New(cfg); err != nil {
		return err
	}
	n.network.BoundTraffic(n.donor.Allowance().NetBytes)
	n.network.handle(protocol.TaskStream, n.provider.ServeTasks)
	n.network.handle(protocol.LivenessStream, n.provider.ServeLiveness)
	n.network.handle(protocol.OutputStream, n.requester.ServeOutput)
	n.network.give(protocol.BlobStream, n.requester.ServeBlob)
	n.network.give(protocol.TreeStream, n.data.Serve)
	n.network.Exchange().Deny(n.access.Blocked)
	return nil
}
