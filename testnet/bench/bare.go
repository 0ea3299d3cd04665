package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// bareName, as the name of this program's process, makes it the least that an idle
// node is compared with.
const bareName = "bench-bare"

// serveBare is a libp2p host with a DHT and GossipSub and nothing else, which
// connects to the peers at the addresses, writes its own to stdout and then rests
// until stdin ends.
func serveBare(ctx context.Context, addrs []string) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h, err := referenceHost(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	d, err := dht.New(h, dht.Mode(dht.ModeServer), dht.ProtocolPrefix("/bench"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	ps, err := pubsub.NewGossipSub(ctx, h)
	if err != nil {
		return err
	}
	topic, err := ps.Join("bench")
	if err != nil {
		return err
	}
	if _, err := topic.Relay(); err != nil { // a member of the topic, for as long as pubsub lives
		return err
	}
	for _, a := range addrs {
		info, err := peer.AddrInfoFromString(a)
		if err == nil {
			err = h.Connect(ctx, *info)
		}
		if err != nil {
			return err
		}
	}
	own, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(h))
	if err != nil {
		return err
	}
	fmt.Println(own[0])
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// measureBare measures so many bare nodes, each connected to all others, as spare's
// are measured, and returns their mean.
func measureBare(ctx context.Context, o options) (mean resting, err error) {
	self, err := os.Executable()
	if err != nil {
		return mean, err
	}
	var all []*resting
	var addrs []string
	var stdins []io.Closer
	defer func() {
		for i, r := range all {
			err = errors.Join(err, stdins[i].Close(), r.cmd.Wait())
		}
	}()
	for range o.peers + 1 {
		cmd := exec.Command(self) // ends with its stdin
		cmd.Args = append([]string{bareName}, addrs...)
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return mean, err
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return mean, err
		}
		if err := cmd.Start(); err != nil {
			return mean, err
		}
		all, stdins = append(all, &resting{name: "bare", cmd: cmd, peers: o.peers}), append(stdins, stdin)
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			return mean, fmt.Errorf("read the address of a bare node: %w", err)
		}
		addrs = append(addrs, strings.TrimSpace(line))
	}
	if err := sleep(ctx, settling); err != nil {
		return mean, err
	}
	if err := measureIdle(ctx, all, o.idles); err != nil {
		return mean, err
	}
	return meanOf("bare libp2p, mean", all), nil
}
