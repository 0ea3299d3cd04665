package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

const (
	// meetTimeout bounds how long all nodes take to start and to meet.
	meetTimeout = 5 * time.Minute
	// settling is how long the nodes are left alone before they are measured:
	// what is eager at the start has ended by then.
	settling = time.Minute
	// startsAtOnce is how many nodes are started before the next are: on few
	// CPUs, handshakes of all at once would run into their deadlines.
	startsAtOnce = 5
	idleMemory   = 45 << 20 // P6, in bytes
	idleShare    = 0.005    // P6, of a core
)

// resting is a node in a process of its own that is given nothing to do.
type resting struct {
	name   string
	home   string
	socket *client.Client
	cmd    *exec.Cmd

	share    float64 // of a core
	resident uint64  // the most that was seen, in bytes
	private  uint64  // of it what no other process could share
	peers    int
}

// benchIdle measures what a node costs that has nothing to do among so many peers,
// all of them spare in processes of their own, and prints it. All join by the first,
// as they do where people live, so that it is probed by all; the others are what
// most nodes are. As much of libp2p as a node needs is measured before, in as many
// processes: on few CPUs, so many of whatever kind cost more than one would.
func benchIdle(ctx context.Context, o options, dir string, out io.Writer) (err error) {
	bare, err := measureBare(ctx, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all []*resting
	defer func() {
		cancel()
		for _, r := range all {
			if end := r.cmd.Wait(); end != nil && err == nil && !r.cmd.ProcessState.Success() {
				err = fmt.Errorf("%s ended badly: %w", r.name, end)
			}
		}
	}()
	began := time.Now()
	var first *resting
	for n := range o.peers + 1 {
		if n > startsAtOnce && n%startsAtOnce == 0 {
			if err := first.await(ctx, func(s api.Status) bool { return s.PeersConnected >= n-1 && s.PeersKnown >= n-1 }); err != nil {
				return err
			}
		}
		// One is as 'spare up' has it, which watches its owner; the rest need not look.
		name, args := "peer "+strconv.Itoa(n), []string{"--donate", "always", "--no-dashboard"}
		switch n {
		case 0:
			name, args = "the bootstrap of all", nil
		case 1:
			name, args = "as 'spare up' has it", nil
		}
		r, err := startResting(ctx, o, dir, name, first, args...)
		if r != nil {
			all = append(all, r)
		}
		if err != nil {
			return err
		}
		first = all[0]
	}
	for _, r := range all {
		if err := r.await(ctx, func(s api.Status) bool { return s.PeersKnown >= o.peers }); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "bench: %d nodes know each other within %s\n", len(all), time.Since(began).Round(time.Second))
	if err := sleep(ctx, settling); err != nil {
		return err
	}
	if err := measureIdle(ctx, all, o.idles); err != nil {
		return err
	}
	for _, r := range all {
		s, err := r.socket.Status(ctx)
		if err != nil {
			return err
		}
		r.peers = s.PeersConnected
	}
	return printIdle(out, o, bare, all)
}

// startResting starts a node that joins another, if there is one.
func startResting(ctx context.Context, o options, dir, name string, join *resting, args ...string) (*resting, error) {
	home, err := os.MkdirTemp(dir, "n")
	if err != nil {
		return nil, err
	}
	args = append([]string{"up", "--home", home, "--network", networkName}, args...)
	if join != nil {
		secret := filepath.Join("networks", networkName+".secret")
		b, err := os.ReadFile(filepath.Join(join.home, secret))
		if err == nil {
			err = os.MkdirAll(filepath.Join(home, "networks"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(home, secret), b, 0o600)
		}
		if err != nil {
			return nil, err
		}
		s, err := join.socket.Status(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range s.Addrs {
			if strings.Contains(a, "/quic-v1/") {
				args = append(args, "--bootstrap", a)
			}
		}
	}
	socket, err := api.SocketPath(home)
	if err != nil {
		return nil, err
	}
	r := &resting{name: name, home: home, socket: client.New(socket), cmd: exec.CommandContext(ctx, o.program, args...)}
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(os.Interrupt) }
	r.cmd.WaitDelay = stopTimeout
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	return r, r.await(ctx, func(api.Status) bool { return true })
}

// await returns when the node's status is as wanted.
func (r *resting) await(ctx context.Context, wanted func(api.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	for {
		s, err := r.socket.Status(ctx)
		if err == nil && wanted(s) {
			return nil
		}
		if err != nil && protocol.CodeOf(err) != protocol.CodeNoNode {
			return err
		}
		if sleep(ctx, 250*time.Millisecond) != nil {
			return fmt.Errorf("%s has %d peers, %d offers: %w", r.name, s.PeersConnected, s.PeersKnown, ctx.Err())
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measureIdle looks at all nodes for a while, from outside.
func measureIdle(ctx context.Context, all []*resting, lasts time.Duration) error {
	used := make([]time.Duration, len(all))
	began := time.Now()
	for i, r := range all {
		u, err := usageOf(r.cmd.Process.Pid)
		if err != nil {
			return err
		}
		used[i] = u.cpu
	}
	for end := began.Add(lasts); time.Now().Before(end); {
		if err := sleep(ctx, min(time.Second, time.Until(end))); err != nil {
			return err
		}
		for i, r := range all {
			u, err := usageOf(r.cmd.Process.Pid)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if u.resident > r.resident {
				r.resident, r.private = u.resident, u.private
			}
			r.share = float64(u.cpu-used[i]) / float64(time.Since(began))
		}
	}
	return nil
}

func printIdle(out io.Writer, o options, bare resting, all []*resting) error {
	fmt.Fprintf(out, "\nNodes with nothing to do for %s, %d spare processes on this machine, each with an offer of every other. Load average %s.\n", o.idles, len(all), loadAverage())
	fmt.Fprint(out, "Before them as many of libp2p with a DHT and GossipSub alone, which nobody uses.\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "node\tpeers connected\tCPU of a core\tover bare\tresident, most\tover bare\tof it private\tP6")
	rest := meanOf("the others, mean", all[2:])
	for i, r := range []*resting{&bare, all[0], all[1], &rest} {
		verdict := ""
		if i > 0 {
			verdict = r.verdict()
		}
		fmt.Fprintf(w, "%s\t%d\t%.2f %%\t%s\t%s\t%s\t%s\t%s\n", r.name, r.peers, 100*r.share, over(r.share, bare.share),
			mebibytes(r.resident), over(float64(r.resident), float64(bare.resident)), mebibytes(r.private), verdict)
	}
	return w.Flush()
}

// meanOf is a node that has used what these have on average.
func meanOf(name string, all []*resting) resting {
	mean := resting{name: name}
	n := max(1, len(all))
	for _, r := range all {
		mean.share += r.share / float64(n)
		mean.resident += r.resident / uint64(n)
		mean.private += r.private / uint64(n)
		mean.peers += r.peers
	}
	mean.peers /= n
	return mean
}

// over is how many times as much a node takes as another.
func over(is, other float64) string {
	if other == 0 {
		return "?" // in so short a time
	}
	return fmt.Sprintf("%.2fx", is/other)
}

// verdict tells whether the node has met P6.
func (r *resting) verdict() string {
	said := func(met bool) string {
		if met {
			return "met"
		}
		return "MISSED"
	}
	return fmt.Sprintf("CPU <= %.2g %%, %s; <= %d MiB, %s", 100*idleShare, said(r.share <= idleShare), idleMemory>>20, said(r.resident <= idleMemory))
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
