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
	"github.com/spare-network/spare/protocol"
)

const (
	networkName = "bench"
	// startTimeout bounds how long two nodes take to start and to meet.
	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// pair is a requester within this process and a provider in one of its own, on
// a network of their own.
type pair struct {
	program string // of spare
	path    string // of the module
	wasm    []byte
	home    string // of the requester
	module  *protocol.Blob

	requester *node.Node
	socket    *client.Client // of the requester
	stop      context.CancelFunc
	ended     chan error // what the requester's Run returned
	provider  *exec.Cmd
	interrupt context.CancelFunc // the provider
}

// startPair starts both nodes, with homes below dir, and returns when the
// requester has the provider's offer.
func startPair(ctx context.Context, dir, program, path string) (p *pair, err error) {
	p = &pair{program: program, path: path, home: filepath.Join(dir, "requester")}
	if p.wasm, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	info, err := p.startRequester(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the requester: %w", err)
	}
	if err := p.meet(ctx, filepath.Join(dir, "provider"), info); err != nil {
		return nil, errors.Join(fmt.Errorf("start the provider: %w", err), p.close())
	}
	return p, nil
}

func (p *pair) startRequester(ctx context.Context) (info node.Info, err error) {
	ready := make(chan node.Info, 1)
	if p.requester, err = node.New(ctx, node.Config{
		Home:    p.home,
		Network: networkName,
		Donate:  "always",
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Ready:   func(i node.Info) { ready <- i },
	}); err != nil {
		return info, err
	}
	ctx, p.stop = context.WithCancel(ctx)
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.requester.Run(ctx) }()
	select {
	case info = <-ready:
	case err := <-p.ended:
		return info, err
	}
	socket, err := api.SocketPath(p.home)
	if err != nil {
		return info, err
	}
	p.socket = client.New(socket)
	digest, size, err := p.requester.Blobs().Put(bytes.NewReader(p.wasm), protocol.MaxBlob)
	p.module = &protocol.Blob{Digest: digest[:], Size: uint64(size)}
	return info, err
}

// meet starts the provider in home and waits for its offer. It joins by QUIC,
// which is what the reference speaks.
func (p *pair) meet(ctx context.Context, home string, requester node.Info) error {
	secret, err := os.ReadFile(requester.SecretFile)
	if err != nil {
		return err
	}
	file := filepath.Join(home, "networks", networkName+".secret")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		return err
	}
	args := []string{
		"up", "--home", home, "--network", networkName, "--donate", "always", "--no-dashboard",
		// Its queue, which grows with the slots, must take 64 at once.
		"--slots", strconv.Itoa(max(2, runtime.NumCPU())), "--mem", strconv.Itoa(protocol.DefaultMemory),
	}
	for _, a := range requester.Addrs {
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
		return err
	}
	p.provider, p.interrupt = cmd, interrupt
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return p.awaitOffer(ctx)
}

func (p *pair) awaitOffer(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		peers, err := p.socket.Peers(ctx)
		if err != nil {
			return err
		}
		if len(peers) == 1 && peers[0].OfferAgeMS != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no offer within %s: %w", startTimeout, ctx.Err())
		}
	}
}

func (p *pair) close() error {
	var errs []error
	if p.provider != nil {
		p.interrupt()
		_ = p.provider.Wait() // tells that it was interrupted
		if !p.provider.ProcessState.Success() {
			errs = append(errs, fmt.Errorf("the provider ended badly: %s", p.provider.ProcessState))
		}
	}
	p.stop()
	return errors.Join(append(errs, <-p.ended)...)
}

// echo is one remote task, submitted in the node.
func (p *pair) echo(ctx context.Context, request []byte) ([]byte, error) {
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
func (p *pair) echoBySocket(ctx context.Context, request []byte) ([]byte, error) {
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
func (p *pair) echoByCommand(ctx context.Context, request []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.program, "--home", p.home, "run", "--remote", p.path)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

// runTrue is the least that a process costs.
func runTrue(ctx context.Context, request []byte) ([]byte, error) {
	return request, exec.CommandContext(ctx, "true").Run()
}
