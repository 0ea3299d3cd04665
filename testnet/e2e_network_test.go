//go:build e2e && unix

package testnet

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestE2ENetworkGrowsAndHeals: eight nodes know each other, a ninth learns all,
// and the network lives on without its bootstrap, which is found again.
func TestE2ENetworkGrowsAndHeals(t *testing.T) {
	nodes, said := startNet(t, 8)
	t.Logf("%s (target 10 s)", said)

	bootstrap := nodes[0]
	start := time.Now()
	ninth := startNode(t, bootstrap.Network, bootstrap.secret(t), bootstrap.bootstrap()...)
	answered := time.Since(start)
	await(t, "the ninth knows all", func() bool { return ninth.knows(t, nodes...) })
	t.Logf("a ninth node knew all %.1f s after its start (target 3 s); it answered after %.1f s", time.Since(start).Seconds(), answered.Seconds())
	await(t, "all know the ninth", func() bool { return knownTo(t, nodes, ninth) })
	t.Logf("all knew it %.1f s after its start", time.Since(start).Seconds())

	bootstrap.signal(t, syscall.SIGKILL)
	others := nodes[1:]
	await(t, "nobody is connected with the dead bootstrap", func() bool {
		return !slices.ContainsFunc(others, func(n *node) bool { return n.connectedTo(t, bootstrap) })
	})
	for _, n := range []*node{others[0], ninth} {
		end := n.spare(t, []byte("still here\n"), "run", "--remote", module(t, "wordcount"))
		if end.code != 0 || string(end.stdout) != "1 2 11\n" {
			t.Errorf("without the bootstrap, a task of %s exits %d with %q: %s", n.Name, end.code, end.stdout, end.stderr)
		}
	}

	bootstrap.restart(t)
	back := time.Now()
	await(t, "the bootstrap is found again", func() bool {
		return bootstrap.knows(t, others...) && knownTo(t, others, bootstrap) &&
			!slices.ContainsFunc(others, func(n *node) bool { return !n.connectedTo(t, bootstrap) })
	})
	t.Logf("the bootstrap was connected with all %.1f s after it answered again", time.Since(back).Seconds())
}

func knownTo(t *testing.T, nodes []*node, other *node) bool {
	t.Helper()
	return !slices.ContainsFunc(nodes, func(n *node) bool { return !n.knows(t, other) })
}

// TestE2ENetworksStayApart: neither another network nor another secret of the
// same network gets in, and both sides are told.
func TestE2ENetworksStayApart(t *testing.T) {
	first, _ := startNet(t, 3)
	second, _ := startNet(t, 3)

	stranger := startNode(t, second[0].Network, second[0].secret(t), slices.Concat(first[0].bootstrap(), second[0].bootstrap())...)
	await(t, "the stranger knows its own network", func() bool { return stranger.knows(t, second...) })
	wantRefusal(t, first[0], stranger, "E-OTHER-NETWORK")

	spy := startNode(t, first[0].Network, strings.Repeat("5a", 32), first[0].bootstrap()...)
	wantRefusal(t, first[0], spy, "E-NETWORK-SECRET")

	for _, n := range first {
		for _, p := range n.peers(t) {
			if !slices.ContainsFunc(first, func(m *node) bool { return m.Peer == p.Peer }) {
				t.Errorf("%s of the first network has the peer %s", n.Name, p.Peer)
			}
		}
	}
	for _, n := range second {
		for _, p := range n.peers(t) {
			if p.Peer != stranger.Peer && !slices.ContainsFunc(second, func(m *node) bool { return m.Peer == p.Peer }) {
				t.Errorf("%s of the second network has the peer %s", n.Name, p.Peer)
			}
		}
	}
	if peers := spy.peers(t); len(peers) > 0 {
		t.Errorf("the node with the wrong secret has peers: %+v", peers)
	}
	end := spy.spare(t, nil, "run", "--remote", "-n", module(t, "wordcount"))
	if end.code != 125 {
		t.Errorf("the node with the wrong secret runs a task elsewhere: exit %d, %s", end.code, end.stderr)
	}
}

// wantRefusal waits until both nodes say that they are not of one network.
func wantRefusal(t *testing.T, a, b *node, code string) {
	t.Helper()
	for _, side := range []struct{ told, other *node }{{a, b}, {b, a}} {
		await(t, side.told.Name+" tells of the refusal "+code, func() bool {
			return slices.ContainsFunc(side.told.status(t).Refused, func(r refusal) bool {
				return r.Peer == side.other.Peer && r.Code == code && r.Message != ""
			})
		})
	}
}

// TestE2ENothingIsLeftBehind: a node ends on SIGTERM with its workers, and its
// workers end with it when it is killed.
func TestE2ENothingIsLeftBehind(t *testing.T) {
	before := processesOf(t, spareBinary(t))
	nodes, _ := startNet(t, 3)
	busy := nodes[0].command("run", "--remote", "-d", "-n", module(t, "guest"), "--", "spin")
	if err := busy.Run(); err != nil {
		t.Fatal(err)
	}
	var provider *node
	await(t, "the spinning task runs", func() bool {
		for _, a := range nodes[0].lastTask(t).Attempts {
			if a.State == "running" {
				provider = by(t, nodes, a.Provider)
			}
		}
		return provider != nil
	})
	await(t, "a worker runs", func() bool { return processesOf(t, spareBinary(t)) > before+3 })

	provider.signal(t, syscall.SIGKILL)
	nodes[0].signal(t, syscall.SIGKILL)
	await(t, "the workers of killed nodes end", func() bool {
		// What runs elsewhere by now has lost its requester; only nodes stay.
		return processesOf(t, spareBinary(t)) <= before+2
	})
	for _, n := range nodes {
		if n != provider && n != nodes[0] {
			n.signal(t, syscall.SIGTERM)
		}
	}
	took := await(t, "no process is left", func() bool { return processesOf(t, spareBinary(t)) == before })
	t.Logf("the last node ended %v after SIGTERM", took.Round(time.Millisecond))
}
