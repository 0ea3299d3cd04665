//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/testnet/wire"
)

// fleet is all nodes and what joins them.
type fleet struct {
	options
	dir      string
	nodes    []*node
	wire     *wire.Wire // nil: all are on loopback
	possible []kind

	mu     sync.Mutex
	ill    map[int]bool // nodes that suffer alone
	far    map[int]bool // nodes beyond a partition
	faults []*fault
	died   int // processes that ended by themselves
}

// startFleet starts the nodes, and returns when all know each other. What
// cannot be done here is told to say.
func startFleet(ctx context.Context, o options, say io.Writer) (_ *fleet, err error) {
	f := &fleet{options: o, ill: make(map[int]bool), far: make(map[int]bool)}
	if f.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(true))
		}
	}()
	if f.wire, err = wire.New(ctx, o.nodes); errors.Is(err, wire.ErrUnable) {
		fmt.Fprintf(say, "%v: all nodes are on loopback, without cut links and partitions.\n", err)
	} else if err != nil {
		return nil, err
	}
	if err := f.makeNodes(ctx, say); err != nil {
		return nil, err
	}
	f.choose(say)
	addrs, err := f.nodes[0].start(ctx)
	if err != nil {
		return nil, err
	}
	f.settle(f.nodes[0], addrs)
	var starting errgroup.Group
	for _, n := range f.nodes[1:] {
		for _, a := range addrs {
			n.command = append(n.command, "--bootstrap", a)
		}
		starting.Go(func() error {
			addrs, err := n.start(ctx)
			f.settle(n, addrs)
			return err
		})
	}
	if err := starting.Wait(); err != nil {
		return nil, err
	}
	return f, f.awaitBooks(ctx)
}

// makeNodes gives each node a home, its place in the network and its command.
func (f *fleet) makeNodes(ctx context.Context, say io.Writer) error {
	program, err := filepath.Abs(f.program)
	if err != nil {
		return err
	}
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	small := os.Geteuid() == 0
	for i := range f.options.nodes {
		n := &node{number: i, home: filepath.Join(f.dir, fmt.Sprintf("n%d", i+1))}
		n.log, n.api = n.home+".log", client.New(filepath.Join(n.home, "api.sock"))
		f.nodes = append(f.nodes, n)
		if err := os.Mkdir(n.home, 0o700); err != nil {
			return err
		}
		if small && i > 0 {
			if err := n.mount(ctx); err != nil {
				fmt.Fprintf(say, "%v: no disk will be full.\n", err)
				small = false
			}
		}
		networks := filepath.Join(n.home, "networks")
		if err := os.Mkdir(networks, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(networks, networkName+".secret"), fmt.Appendf(nil, "%x\n", secret), 0o600); err != nil {
			return err
		}
		at, port := "127.0.0.1", 0
		if f.wire != nil {
			n.command = f.wire.Within(i)
			at, port = wire.Address(i), wirePort
		}
		n.command = append(n.command, program, "up", "--home", n.home, "--network", networkName,
			"--slots", "2", "--mem", "1GiB", "--donate", "always", "--no-dashboard", "--log-level", f.logLevel)
		n.command = append(n.command, listen(f.transport, at, port)...)
		n.env = []string{"SPARE_CHAOS_CLOCK=" + n.clock()}
		if i > 0 && i <= f.liars() {
			n.env = append(n.env, fmt.Sprintf("SPARE_CHAOS_LIES=%s %g", f.lies, f.share))
		}
	}
	return nil
}

// settle fixes the addresses of a node that has started, so that it is found
// again.
func (f *fleet) settle(n *node, addrs []string) {
	if f.wire == nil {
		i := slices.Index(n.command, "--listen")
		n.command = slices.Concat(n.command[:i], same(addrs), n.command[i+2*len(transports[f.transport]):])
	}
}

// choose finds which of the faults that are wanted can happen here.
func (f *fleet) choose(say io.Writer) {
	for k := range kinds {
		switch {
		case len(f.only) > 0 && !slices.Contains(f.only, k):
			continue
		case (k == cut || k == parted) && f.wire == nil:
			continue // said before
		case k == filled && !f.nodes[1].mounted:
			if os.Geteuid() != 0 {
				fmt.Fprintln(say, "This is not root: no disk will be full.")
			}
			continue
		case k == jumped && !testable(f.program):
			fmt.Fprintf(say, "%s is not built by 'make bin/spare-chaos': no clock will jump.\n", f.program)
			continue
		}
		f.possible = append(f.possible, k)
	}
}

// testable reports whether a program has the hooks of build tag chaos.
func testable(program string) bool {
	info, err := buildinfo.ReadFile(program)
	return err == nil && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "-tags" && slices.Contains(strings.Split(s.Value, ","), "chaos")
	})
}

// awaitBooks returns when all nodes know each other.
func (f *fleet) awaitBooks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, n := range f.nodes {
		for {
			s, err := n.api.Status(ctx)
			if err == nil && s.PeersKnown >= len(f.nodes)-1 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s knows %d of %d others: %w, see %s", n.name(), s.PeersKnown, len(f.nodes)-1, errors.Join(ctx.Err(), err), n.log)
			case <-time.After(askEvery):
			}
		}
	}
	return nil
}

// close ends all nodes and removes what they leave, or all but their logs.
func (f *fleet) close(keepLogs bool) error {
	var ending errgroup.Group
	for _, n := range f.nodes {
		ending.Go(func() error { return errors.Join(n.end(), n.unmount()) })
	}
	errs := []error{ending.Wait()}
	if f.wire != nil {
		errs = append(errs, f.wire.Close())
	}
	for _, n := range f.nodes {
		if n.mounted {
			return errors.Join(errs...) // what is there is not removed under it
		}
		errs = append(errs, os.RemoveAll(n.home))
	}
	if !keepLogs {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}

// panics finds the logs in which a panic is told of that a node survived.
func (f *fleet) panics() (logs []string) {
	for _, n := range f.nodes {
		if b, err := os.ReadFile(n.log); err == nil && strings.Contains(string(b), "panic") {
			logs = append(logs, n.log)
		}
	}
	return logs
}
