package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

const (
	// referenceName, as the name of this program's process, makes it the
	// reference's server.
	referenceName = "bench-reference"

	referenceProtocol protocol.ID = "/bench/echo/1.0.0"
)

// referenceHost makes a host that accounts for its resources, as every libp2p
// host does, but refuses nothing.
func referenceHost(options ...libp2p.Option) (host.Host, error) {
	manager, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.InfiniteLimits), rcmgr.WithMetricsDisabled())
	if err != nil {
		return nil, err
	}
	return libp2p.New(append(options,
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.ResourceManager(manager),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	)...)
}

// serveReference runs the module at path for each stream until stdin ends. It
// writes the address to reach it at to stdout.
func serveReference(ctx context.Context, path string) error {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	runtime := wazero.NewRuntime(ctx)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, runtime); err != nil {
		return err
	}
	code, err := runtime.CompileModule(ctx, wasm)
	if err != nil {
		return err
	}
	h, err := referenceHost(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	if err != nil {
		return err
	}
	h.SetStreamHandler(referenceProtocol, func(s network.Stream) {
		if err := answer(ctx, s, runtime, code); err != nil {
			fmt.Fprintln(os.Stderr, "reference:", err)
			_ = s.Reset() // which fails the request
		}
	})
	addrs, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(h))
	if err != nil {
		return err
	}
	fmt.Println(addrs[0])
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, h.Close(), runtime.Close(ctx))
}

// answer runs a fresh instance with what the stream brings and sends back what
// it writes.
func answer(ctx context.Context, s network.Stream, runtime wazero.Runtime, code wazero.CompiledModule) error {
	request, err := io.ReadAll(io.LimitReader(s, messageSize+1)) // to its end, not to cancel the rest
	if err != nil {
		return err
	}
	var reply bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithStdin(bytes.NewReader(request)).WithStdout(&reply).WithStderr(os.Stderr)
	instance, err := runtime.InstantiateModule(ctx, code, config)
	if err != nil {
		return err
	}
	if err := instance.Close(ctx); err != nil {
		return err
	}
	if _, err := s.Write(reply.Bytes()); err != nil {
		return err
	}
	return s.Close()
}

// reference is the client of a server in a process of its own.
type reference struct {
	server *exec.Cmd
	stdin  io.Closer
	host   host.Host
	peer   peer.ID
}

// startReference starts a server that runs the module at path, and connects.
func startReference(ctx context.Context, path string) (r *reference, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self) // ends with its stdin
	cmd.Args = []string{referenceName, path}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h, err := referenceHost(libp2p.NoListenAddrs)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	r = &reference{server: cmd, stdin: stdin, host: h}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the server's address: %w", err), r.close())
	}
	info, err := peer.AddrInfoFromString(strings.TrimSpace(line))
	if err == nil {
		r.peer = info.ID
		err = h.Connect(ctx, *info)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *reference) close() error {
	return errors.Join(r.host.Close(), r.stdin.Close(), r.server.Wait())
}

// echo is one request of the reference, on a stream of its own.
func (r *reference) echo(ctx context.Context, request []byte) ([]byte, error) {
	s, err := r.host.NewStream(ctx, r.peer, referenceProtocol)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Reset() }() // nothing, when all went well
	if _, err := s.Write(request); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(s)
}
