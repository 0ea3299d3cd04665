//go:build e2e && unix

package testnet

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/testnet/wire"
)

// bulky writes a module of so many bytes that runs as guest does: with a section
// of random bytes that no engine reads.
func bulky(t *testing.T, size int) string {
	t.Helper()
	guest, err := os.ReadFile(module(t, "guest"))
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, size-len(guest)-16)
	rand.Read(body)
	body[0] = 0 // the section's name is empty
	section := append([]byte{0}, binary.AppendUvarint(nil, uint64(len(body)))...)
	path := filepath.Join(t.TempDir(), "bulky.wasm")
	if err := os.WriteFile(path, slices.Concat(guest, section, body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestE2EModuleSpreads has eight nodes, behind links of 5 MB/s, run a module of
// 26 MB that none of them has seen, and then one of their own each, which nobody
// but the requester can send them. The same with inputs.
func TestE2EModuleSpreads(t *testing.T) {
	const providers, size, rate = 8, 26 << 20, 5_000_000
	w, err := wire.New(t.Context(), providers+1)
	if errors.Is(err, wire.ErrUnable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range providers + 1 {
		if err := w.Limit(t.Context(), i, rate); err != nil {
			t.Skip("links cannot be limited here: ", err)
		}
	}
	var nodes []*node
	for i := range providers + 1 {
		secret, flags := "", []string{
			"--listen", fmt.Sprintf("/ip4/%s/tcp/4001", wire.Address(i)), "--listen", fmt.Sprintf("/ip4/%s/udp/4001/quic-v1", wire.Address(i)),
		}
		if i > 0 {
			secret, flags = nodes[0].secret(t), append(flags, nodes[0].bootstrap()...)
		}
		nodes = append(nodes, startWithin(t, w.Within(i), "swarm", secret, flags...))
	}
	requester := nodes[0]
	await(t, "the requester knows all", func() bool { return requester.knows(t, nodes...) })

	// run has each provider run a module, and returns how long that took in all and
	// how many bytes the requester sent meanwhile.
	run := func(args func(i int) []string) (took time.Duration, sent uint64) {
		t.Helper()
		before, err := w.Sent(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for i, n := range nodes[1:] {
			wg.Go(func() {
				end := requester.spare(t, nil, slices.Concat([]string{"run", "--on", n.Peer}, args(i), []string{"--", "chain", "10"})...)
				if end.code != 0 {
					t.Errorf("on %s it exits %d: %s", n.Name, end.code, end.stderr)
				}
			})
		}
		wg.Wait()
		took = time.Since(began)
		after, err := w.Sent(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return took, after - before
	}
	guest := module(t, "guest")
	run(func(int) []string { return []string{guest} }) // all are connected, and their sandboxes warm
	for _, test := range []struct {
		what string
		args func(bulk string) []string
	}{
		{"module", func(bulk string) []string { return []string{bulk} }},
		{"input", func(bulk string) []string { return []string{"-i", bulk, guest} }},
	} {
		shared, own := bulky(t, size), make([]string, providers)
		for i := range own {
			own[i] = bulky(t, size)
		}
		took, sent := run(func(int) []string { return test.args(shared) })
		alone, all := run(func(i int) []string { return test.args(own[i]) })
		times := func(bytes uint64) float64 { return float64(bytes) / size }
		t.Logf("one %s of 26 MB to %d nodes: the requester sent %.2f times its size, headers and all, and %.1f s until all had run",
			test.what, providers, times(sent), took.Seconds())
		t.Logf("one for each, which only the requester has: %.2f times, and %.1f s", times(all), alone.Seconds())
		if times(sent) > 2.5 {
			t.Errorf("the requester sent %.2f times the %s, at most 2.5", times(sent), test.what)
		}
		if took > alone {
			t.Errorf("it took %.1f s, beside %.1f s from the requester alone", took.Seconds(), alone.Seconds())
		}
	}
}

// TestE2EMembersReadWhatWasAdded adds a directory at one node, reads it at
// another, and has a program on a third read it, by its CID alone.
func TestE2EMembersReadWhatWasAdded(t *testing.T) {
	nodes, _ := startNet(t, 3)
	dir := filepath.Join(t.TempDir(), "corpus")
	large := make([]byte, 3<<20)
	rand.Read(large)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "sub"), 0o700),
		os.WriteFile(filepath.Join(dir, "large"), large, 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "small"), []byte("a small one\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	end := nodes[0].spare(t, nil, "add", dir)
	if end.code != 0 {
		t.Fatalf("add exits %d: %s", end.code, end.stderr)
	}
	cid, out := strings.TrimSpace(string(end.stdout)), filepath.Join(t.TempDir(), "out")
	await(t, "it is announced, and comes", func() bool { return nodes[1].spare(t, nil, "get", cid, "-O", out).code == 0 })
	if got, err := os.ReadFile(filepath.Join(out, "large")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes came: %v", len(got), err)
	}
	end = nodes[1].spare(t, nil, "run", "-n", "--on", nodes[2].Peer, "-i", cid+":/in/corpus", module(t, "tally"))
	if end.code != 0 || !strings.Contains(string(end.stdout), "corpus/sub/small 3 3") {
		t.Errorf("a program that reads it exits %d, and prints %s%s", end.code, end.stdout, end.stderr)
	}
}
