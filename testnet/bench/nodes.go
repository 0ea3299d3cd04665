package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

const (
	networkName = "bench"
	// startTimeout bounds how long two nodes take to start and to meet.
	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// fleet is a requester within this process and providers in processes of their
// own, on a network of their own.
type fleet struct {
	program string // of spare
	path    string // of the module
	dir     string // of all homes
	wasm    []byte
	home    string // of the requester
	module  *protocol.Blob

	requester *node.Node
	info      node.Info      // of the requester
	socket    *client.Client // of the requester
	stop      context.CancelFunc
	ended     chan error // what the requester's Run returned
	providers []*provider
}

// provider is a node in a process of its own.
type provider struct {
	cmd       *exec.Cmd
	interrupt context.CancelFunc
}

// startFleet starts the requester and one provider, with homes below dir, and
// returns when the requester has the provider's offer.
func startFleet(ctx context.Context, dir, program, path string) (p *fleet, err error) {
	p = &fleet{program: program, path: path, dir: dir, home: filepath.Join(dir, "requester")}
	if p.wasm, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	if err := p.startRequester(ctx); err != nil {
		return nil, fmt.Errorf("start the requester: %w", err)
	}
	if err := p.grow(ctx, 1); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// grow starts providers until there are n, and returns when the requester has
// the offers of all.
func (p *fleet) grow(ctx context.Context, n int) error {
	for len(p.providers) < n {
		one, err := p.startProvider(ctx, len(p.providers))
		if err != nil {
			return fmt.Errorf("start a provider: %w", err)
		}
		p.providers = append(p.providers, one)
	}
	return p.awaitOffers(ctx)
}

func (p *fleet) startRequester(ctx context.Context) (err error) {
	ready := make(chan node.Info, 1)
	if p.requester, err = node.New(ctx, node.Config{
		Home:    p.home,
		Network: networkName,
		Flags:   donor.Rules{donor.RuleIdle: "no"},
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Ready:   func(i node.Info) { ready <- i },
	}); err != nil {
		return err
	}
	ctx, p.stop = context.WithCancel(ctx)
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.requester.Run(ctx) }()
	select {
	case p.info = <-ready:
	case err := <-p.ended:
		return err
	}
	socket, err := api.SocketPath(p.home)
	if err != nil {
		return err
	}
	p.socket = client.New(socket)
	digest, size, err := p.requester.Blobs().Put(bytes.NewReader(p.wasm), protocol.MaxBlob)
	p.module = &protocol.Blob{Digest: digest[:], Size: uint64(size)}
	return err
}

// startProvider starts the provider of a number. It joins by QUIC, which is what
// the reference speaks.
func (p *fleet) startProvider(ctx context.Context, number int) (*provider, error) {
	home := filepath.Join(p.dir, "provider-"+strconv.Itoa(number))
	secret, err := os.ReadFile(p.info.SecretFile)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "networks", networkName+".secret")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		return nil, err
	}
	args := []string{
		"up", "--home", home, "--network", networkName, "--donate", "always", "--no-dashboard",
		// Its queue, which grows with the slots, must take 64 at once.
		"--slots", strconv.Itoa(max(2, runtime.NumCPU())), "--mem", strconv.Itoa(protocol.DefaultMemory),
	}
	for _, a := range p.info.Addrs {
		if strings.Contains(a, "/quic-v1/") {
			args = append(args, "--bootstrap", a)
		}
	}
	processCtx, interrupt := context.WithCancel(ctx)
	cmd := exec.CommandContext(processCtx, p.program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTimeout
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		interrupt()
		return nil, err
	}
	return &provider{cmd, interrupt}, nil
}

// kill ends a provider as a power cut would, and starts it again.
func (p *fleet) kill(ctx context.Context, number int) error {
	old := p.providers[number]
	if err := old.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = old.cmd.Wait() // tells that it was killed
	old.interrupt()
	again, err := p.startProvider(ctx, number)
	if err == nil {
		p.providers[number] = again
	}
	return err
}

// awaitOffers waits until all providers are known.
func (p *fleet) awaitOffers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		peers, err := p.socket.Peers(ctx)
		if err != nil {
			return err
		}
		offers := 0
		for _, one := range peers {
			if one.OfferAgeMS != nil {
				offers++
			}
		}
		if offers == len(p.providers) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d offers within %s: %w", offers, startTimeout, ctx.Err())
		}
	}
}

func (p *fleet) close() error {
	var errs []error
	for _, one := range p.providers {
		one.interrupt()
		_ = one.cmd.Wait() // tells that it was interrupted
		if !one.cmd.ProcessState.Success() {
			errs = append(errs, fmt.Errorf("a provider ended badly: %s", one.cmd.ProcessState))
		}
	}
	p.stop()
	return errors.Join(append(errs, <-p.ended)...)
}

// echo is one remote task, submitted in the node.
func (p *fleet) echo(ctx context.Context, request []byte) ([]byte, error) {
	spec := &protocol.Spec{
		Module:      p.module,
		Args:        []string{"echo"},
		Stdin:       protocol.NewBlob(request),
		Limits:      protocol.DefaultLimits(),
		Profile:     protocol.Profile,
		ClockUnixNs: protocol.DefaultClock.UnixNano(),
	}
	t, err := p.requester.Do(ctx, spec, &protocol.Terms{Where: protocol.WhereRemote}, "echo")
	if err != nil {
		return nil, err
	}
	if r := t.Result; r.Code != "" || r.ExitCode != 0 {
		return nil, fmt.Errorf("task %s ended with %d %s: %s", t.Id, r.ExitCode, r.Code, r.Message)
	}
	return t.Result.Stdout.Inline, nil
}

// echoBySocket is the same task, submitted and followed through the API.
func (p *fleet) echoBySocket(ctx context.Context, request []byte) ([]byte, error) {
	var reply []byte
	t, err := p.socket.Run(ctx, &api.Submission{
		Name:  "echo",
		Stdin: api.Bytes{Data: request},
		Terms: api.Terms{Where: "remote"},
	}, p.wasm, func(e api.Event) error {
		reply = append(reply, e.Stdout...)
		return nil
	})
	if err == nil && (t.ExitCode == nil || *t.ExitCode != 0) {
		err = fmt.Errorf("task %s ended as %s: %s", t.ID, t.State, t.Reason)
	}
	return reply, err
}

// echoByCommand is the same task by 'spare run'.
func (p *fleet) echoByCommand(ctx context.Context, request []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.program, "--home", p.home, "run", "--remote", p.path)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

// runTrue is the least that a process costs.
func runTrue(ctx context.Context, request []byte) ([]byte, error) {
	return request, exec.CommandContext(ctx, "true").Run()
}
