package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// services are the parts of a node that run as long as it does.
type services struct {
	failed chan error // what ended a part before it was stopped; the first is kept
	stops  []func() error
}

// start runs a part until it fails or stop is called.
func (s *services) start(name string, run func(context.Context) error) {
	if s.failed == nil {
		s.failed = make(chan error, 1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if err == nil && ctx.Err() == nil {
			err = errors.New("it ended by itself")
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			if ctx.Err() == nil {
				select {
				case s.failed <- err:
					err = nil // told once
				default:
				}
			}
		}
		done <- err
	}()
	s.stops = append(s.stops, func() error { cancel(); return <-done })
}

// stop ends the parts, the last one first, and returns what went wrong.
func (s *services) stop() error {
	var errs []error
	for i := range s.stops {
		errs = append(errs, s.stops[len(s.stops)-1-i]())
	}
	return errors.Join(errs...)
}

// Run runs the node until ctx ends or a part of it fails. The parts are
// started from the bottom up and stopped from the top down, so that each still
// has below it what it needs for an orderly end.
func (n *Node) Run(ctx context.Context) error {
	var s services
	s.start("store", n.store.Run)
	s.start("sandbox", n.runSandbox)
	s.start("donor", n.donor.Run)
	s.start("guests", n.guests.Run)
	s.start("mesh", n.network.Run)
	s.start("data", n.data.Run)
	s.start("provider", n.provider.Run)
	s.start("jobs", n.jobs.Run) // first, since the requester ends their tasks when it stops
	s.start("requester", n.requester.Run)
	var err error
	select {
	case <-n.network.offered: // users are served when the node can serve itself
		s.start("api", n.api.Run)
		if s := n.stance(); s.Availability == protocol.Paused {
			n.cfg.Logger.Warn("this node runs no tasks of others", "reason", s.Reason)
		}
		if n.cfg.Ready != nil {
			n.cfg.Ready(n.info())
		}
		select {
		case <-ctx.Done():
		case err = <-s.failed:
		}
	case <-ctx.Done():
		err = n.api.Close()
	case err = <-s.failed:
		err = errors.Join(err, n.api.Close())
	}
	return errors.Join(err, s.stop(), n.store.Close())
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

// Work grows with each task of this node's user and each replica of another that
// begins, and with what is sent of blobs, and reports whether a task is under way.
func (n *Node) Work() (done uint64, busy bool) {
	load := n.provider.Load()
	return n.begun.Load() + n.network.Exchange().Sent(), n.requester.Busy() || load.Running+load.Queued > 0
}

func (n *Node) noteBegun() {
	n.begun.Add(1)
	if n.cfg.Begun != nil {
		n.cfg.Begun()
	}
}

// Blobs returns the node's blob store.
func (n *Node) Blobs() *store.Blobs { return n.store.Blobs() }

func (n *Node) info() Info {
	i := Info{
		Peer:        n.self.String(),
		Network:     n.cfg.Network,
		SecretFile:  filepath.Join(n.cfg.Home, "networks", n.cfg.Network+".secret"),
		NewSecret:   n.newSecret,
		Slots:       n.donor.Capacity().Slots,
		MemoryBytes: n.donor.Capacity().MemoryBytes,
		Donates:     n.donates(),
	}
	if s := n.stance(); s.Availability == protocol.Paused {
		i.Paused = s.Reason
	}
	if link, err := n.api.DashboardLink(); err == nil { // or it is off
		i.DashboardLink = link
	}
	for _, a := range n.network.Addrs() {
		i.Addrs = append(i.Addrs, a.String())
	}
	return i
}
