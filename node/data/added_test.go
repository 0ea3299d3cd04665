package data

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/node/mesh"
	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
)

// addDir puts files into the member's store and adds the directory of them.
func (m *member) addDir(t *testing.T, files map[string][]byte, paths ...string) string {
	t.Helper()
	l := new(protocol.Listing)
	for _, p := range paths {
		l.Files = append(l.Files, &protocol.File{Path: p, Blob: m.has(t, files[p])})
	}
	b, err := proto.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cid := protocol.DataCID(m.has(t, b).Sum(), true)
	if _, err := m.Add(cid, "dir"); err != nil {
		t.Fatal(err)
	}
	return cid
}

// announce has the member tell that it has data, until the reader hears of it.
func announce(t *testing.T, m, reader *member, cid string) {
	t.Helper()
	sum, _, err := protocol.ParseDataCID(cid)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(lively); m.mesh.Announce(t.Context(), sum) != nil || len(reader.mesh.Holders(t.Context(), sum, 1)) == 0; {
		if time.Now().After(end) {
			t.Fatal("not announced")
		}
		time.Sleep(20 * time.Millisecond) // between tries, until there are peers
	}
}

func TestMembersGetWhatWasAdded(t *testing.T) {
	first := start(t)
	owner, reader := start(t, first), start(t, first)
	files := map[string][]byte{"a": noise(20, 3*protocol.LeafSize+1), "b/c": []byte("small"), "b/d": {}}
	cid := owner.addDir(t, files, "a", "b/c", "b/d")
	announce(t, owner, reader, cid)
	l, err := reader.Get(within(t), cid)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Files) != len(files) {
		t.Fatalf("%d files", len(l.Files))
	}
	for _, f := range l.Files {
		if !bytes.Equal(reader.content(t, f.Blob), files[f.Path]) {
			t.Errorf("%s has other bytes", f.Path)
		}
	}

	private := owner.has(t, noise(21, 1000))
	if _, err := reader.Get(within(t), private.Sum().CID()); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("what was not added: %v", err)
	}
	if err := owner.Remove(cid); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Get(within(t), cid); protocol.CodeOf(err) != protocol.CodeBlob && protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("what was removed: %v", err)
	}
}

func TestWhatWasAddedOutlastsARestart(t *testing.T) {
	m := start(t)
	file := m.has(t, noise(22, 100))
	cid := m.addDir(t, map[string][]byte{"x": []byte("x")}, "x")
	for range 2 { // the second time it is there
		if a, err := m.Add(file.Sum().CID(), "file\x1b"); err != nil || a.Size != 100 || a.Files != 1 || a.Name != "file" {
			t.Fatalf("added as %v: %v", a, err)
		}
	}
	again, err := New(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if list := again.Added(); len(list) != 2 || protocol.DataCID(protocol.Digest(list[0].Digest), list[0].Listing) != cid {
		t.Fatalf("kept: %v", list)
	}
	if n := again.public[file.Sum()]; n != 1 {
		t.Errorf("the file is counted %d times", n)
	}
	for _, c := range []string{cid, file.Sum().CID()} {
		if err := again.Remove(c); err != nil {
			t.Error(err)
		}
	}
	if err := again.Remove(cid); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("removed twice: %v", err)
	}
	if len(again.public) > 0 || len(again.keeps) > 0 || len(again.Added()) > 0 {
		t.Errorf("left: %v", again.public)
	}
	absent := protocol.DigestOf([]byte("absent"))
	for what, c := range map[string]string{"no CID": "hello", "absent": absent.CID(), "no listing": protocol.DataCID(file.Sum(), true)} {
		if _, err := again.Add(c, ""); err == nil {
			t.Errorf("%s is added", what)
		}
	}
}

// The first who announces a file does not have it.
func TestDataComeFromTheNextWhenOneLies(t *testing.T) {
	first := start(t)
	evil, owner := start(t, first), start(t, first)
	reader := start(t, evil, owner)
	b := owner.has(t, noise(23, 3*protocol.LeafSize))
	if _, err := owner.Add(b.Sum().CID(), "file"); err != nil {
		t.Fatal(err)
	}
	evil.answers(t, noise(24, 3*protocol.LeafSize), func(tree *protocol.Tree) swarm.Leaves {
		return &holding{blobs: evil.store.Blobs(), blob: evil.has(t, noise(24, 3*protocol.LeafSize)).Sum(), tree: tree, whole: true}
	})
	reader.cfg.Network = announced{reader.mesh, []peer.ID{evil.mesh.Self(), evil.mesh.Self(), owner.mesh.Self()}}
	if _, err := reader.Get(within(t), b.Sum().CID()); err != nil {
		t.Fatal(err)
	}
}

// announced are always the same.
type announced struct {
	*mesh.Mesh
	holders []peer.ID
}

func (a announced) Holders(context.Context, protocol.Digest, int) []peer.ID { return a.holders }

func TestWhatHadGoneIsKeptWhenItIsAddedAgain(t *testing.T) {
	m := start(t)
	content := noise(31, 2000)
	b := m.has(t, content)
	cid := protocol.DataCID(b.Sum(), false)
	if _, err := m.Add(cid, "x"); err != nil {
		t.Fatal(err)
	}
	m.store.Blobs().Drop(b.Sum())
	again, err := New(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again.isKept(again.added[0]) {
		t.Error("what has gone is kept")
	}
	m.has(t, content)
	if _, err := again.Add(cid, "x"); err != nil {
		t.Fatal(err)
	}
	if again.public[b.Sum()] != 1 || !again.isKept(again.added[0]) {
		t.Error("added again it is not kept")
	}
}

// Who asks for many small files does not end what others fetch.
func TestManyFilesPushNoLargeOneOut(t *testing.T) {
	m := start(t)
	serve := func(content []byte) key {
		k := key{m.has(t, content).Sum(), everybody}
		if _, err := m.whole(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		return k
	}
	large := serve(noise(30, protocol.MinTree))
	for i := range maxHeld + 10 {
		serve([]byte{byte(i), byte(i >> 8)})
	}
	if m.served(large) == nil {
		t.Error("the large file is served no longer")
	}
}
