package store

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// FuzzTaskRecord decodes records. What decodes comes back the same when it is
// encoded and decoded again.
func FuzzTaskRecord(f *testing.F) {
	large := protocol.DigestOf([]byte("large"))
	for _, task := range []*protocol.Task{
		newTask(),
		conclude(newTask(), protocol.NewBlob([]byte("1 1 6\n"))),
		conclude(newTask(), &protocol.Blob{Digest: large[:], Size: 1 << 20}),
		{Result: &protocol.Result{
			Stdout: &protocol.Blob{Digest: large[:], Size: 1 << 20},
			Stderr: &protocol.Blob{Digest: large[:], Size: 1 << 20},
			Files:  []*protocol.File{{Path: "/out/a", Blob: &protocol.Blob{Digest: large[:], Size: 1 << 20}}},
			Pack:   &protocol.Blob{Digest: large[:], Size: 1 << 20},
		}},
		{},
	} {
		record, files, err := encodeTask(task)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(record, files)
		f.Add(record[:len(record)/2], files)
		f.Add(record, files[:len(files)/2])
	}
	f.Add([]byte{4, 2, 1}, []byte(nil))
	f.Add([]byte{255, 255}, []byte{255})
	f.Fuzz(func(t *testing.T, record, files []byte) {
		task, err := decode(record, files)
		if err != nil {
			return
		}
		again, list, err := encodeTask(task)
		if err != nil {
			t.Fatal(err)
		}
		state, outputs, _, err := parseHeader(again)
		if err != nil || byte(state) != byte(task.State) || len(outputs) > maxOutputs {
			t.Fatalf("header %v, %v, %v of a task in state %v", state, outputs, err, task.State)
		}
		if short, err := decodeTask(again); err != nil || len(short.GetResult().GetFiles()) > 0 {
			t.Fatalf("the record holds files: %v, %v", short, err)
		}
		if back, err := decode(again, list); err != nil || !proto.Equal(back, task) {
			t.Fatalf("%v became %v, %v", task, back, err)
		}
	})
}

// decode decodes a task with its files.
func decode(record, files []byte) (*protocol.Task, error) {
	task, err := decodeTask(record)
	if err == nil {
		err = decodeFiles(task, files)
	}
	return task, err
}

// FuzzTaskKey parses keys, of which each is what taskKey makes of its parts.
func FuzzTaskKey(f *testing.F) {
	f.Add(taskKey(1, "abcdefghij"))
	f.Add(taskKey(1<<63, "2345672345"))
	f.Add([]byte("short"))
	f.Add(append(taskKey(1, "abcdefghij"), 'x'))
	f.Fuzz(func(t *testing.T, key []byte) {
		seq, id, err := parseTaskKey(key)
		if err == nil && !bytes.Equal(taskKey(seq, id), key) {
			t.Fatalf("%x became %d, %s", key, seq, id)
		}
	})
}

// FuzzPeerRecord decodes remembered peers. What decodes can be encoded and is
// the same again.
func FuzzPeerRecord(f *testing.F) {
	_, public, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		f.Fatal(err)
	}
	record, err := encodePeer(remembered{
		Info: peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/udp/1/quic-v1")}},
		Seen: time.Now().UTC(),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"peer":{"ID":"","Addrs":[]},"seen":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"peer":{"ID":"x","Addrs":["/"]}}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		r, err := decodePeer(record)
		if err != nil {
			return
		}
		again, err := encodePeer(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodePeer(again)
		if err != nil || back.Info.String() != r.Info.String() || !back.Seen.Equal(r.Seen) {
			t.Fatalf("%v became %v, %v", r, back, err)
		}
	})
}

// FuzzNetworkSecret parses secret files.
func FuzzNetworkSecret(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"))
	f.Add([]byte("0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"))
	f.Add([]byte("0123456789abcdef\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		secret, err := parseNetworkSecret(data)
		if err != nil {
			if secret != (protocol.NetworkSecret{}) {
				t.Fatal("a secret comes with an error")
			}
			return
		}
		if len(bytes.TrimSpace(data)) != 2*len(secret) {
			t.Fatalf("%q is taken for a secret", data)
		}
	})
}

// FuzzIdentity parses identity files.
func FuzzIdentity(f *testing.F) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	data, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:20])
	f.Add([]byte{8, 1, 18, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := parseIdentity(data)
		if err != nil {
			return
		}
		if _, err := peer.IDFromPrivateKey(key); err != nil {
			t.Fatalf("a key without a peer ID: %v", err)
		}
	})
}
