package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// service is a part of a node that runs as long as the node does.
type service struct {
	name string
	run  func(context.Context) error
}

// Run runs the node until ctx ends or a part of it fails. The parts are
// started from the bottom up and stopped from the top down, so that each still
// has below it what it needs for an orderly end.
func (n *Node) Run(ctx context.Context) error {
	services := []service{
		{"store", n.store.Run},
		{"sandbox", n.runSandbox},
		{"donor", n.donor.Run},
		{"mesh", n.network.Run},
		{"provider", n.provider.Run},
		{"requester", n.requester.Run},
		{"api", n.api.Run},
	}
	failed := make(chan error, len(services))
	var stops []func()
	for _, s := range services {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := s.run(ctx); err != nil {
				failed <- fmt.Errorf("%s: %w", s.name, err)
			} else if ctx.Err() == nil {
				failed <- fmt.Errorf("%s ended by itself", s.name)
			}
		}()
		stops = append(stops, func() { cancel(); <-done })
	}
	if n.cfg.Ready != nil {
		n.cfg.Ready(n.info())
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for i := range stops {
		stops[len(stops)-1-i]()
	}
	close(failed)
	for later := range failed {
		err = errors.Join(err, later)
	}
	return errors.Join(err, n.store.Close())
}

// runSandbox keeps the sandbox open until ctx ends.
func (n *Node) runSandbox(ctx context.Context) error {
	<-ctx.Done()
	return n.sandbox.Close()
}

// Do runs a task to its end, for a program that embeds a node; when ctx ends
// before, the task is cancelled. The blobs that the spec names are put by Blobs
// before.
func (n *Node) Do(ctx context.Context, spec *protocol.Spec, terms *protocol.Terms, name string) (*protocol.Task, error) {
	return n.requester.Do(ctx, spec, terms, name)
}

// Blobs returns the node's blob store.
func (n *Node) Blobs() *store.Blobs { return n.store.Blobs() }

func (n *Node) info() Info {
	i := Info{
		Peer:        n.self.String(),
		Network:     n.cfg.Network,
		SecretFile:  filepath.Join(n.cfg.Home, "networks", n.cfg.Network+".secret"),
		NewSecret:   n.newSecret,
		Socket:      filepath.Join(n.cfg.Home, socketName),
		Slots:       n.capacity.Slots,
		MemoryBytes: n.capacity.MemoryBytes,
	}
	if link, err := n.api.DashboardLink(); err == nil { // or it is off
		i.DashboardLink = link
	}
	for _, a := range n.network.Addrs() {
		i.Addrs = append(i.Addrs, a.String())
	}
	return i
}
