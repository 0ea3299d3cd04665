package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

func TestStateIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if b, err := s.State("donation"); b != nil || err != nil {
		t.Errorf("before anything was saved: %q, %v", b, err)
	}
	for _, want := range []string{"one", "another"} {
		if err := s.SaveState("donation", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if b, err := s.State("donation"); string(b) != want || err != nil {
			t.Errorf("got %q, %v, want %q", b, err, want)
		}
	}
	if err := s.SaveState("donation", make([]byte, maxState+1)); err == nil {
		t.Error("a record beyond the bound is saved")
	}
	if err := s.SaveState("../donation", nil); protocol.CodeOf(err) != protocol.CodeBadRequest {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if b, err := s.State("donation"); string(b) != "another" || err != nil {
		t.Errorf("after a restart: %q, %v", b, err)
	}
}

func TestSecretsAreMadeOnceAndStay(t *testing.T) {
	s := open(t, t.TempDir())
	key, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	network, made, err := s.NetworkSecret("lab-1")
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	other, _, err := s.NetworkSecret("lab-2")
	if err != nil || other == network {
		t.Errorf("two networks share a secret, %v", err)
	}
	token, err := s.Key("dashboard")
	if err != nil || len(token) != 32 {
		t.Fatalf("%d bytes, %v", len(token), err)
	}
	s = reopen(t, s)
	if again, err := s.Identity(); err != nil || !key.Equals(again) {
		t.Errorf("another identity after a restart, %v", err)
	}
	if again, made, err := s.NetworkSecret("lab-1"); err != nil || made || again != network {
		t.Errorf("another network secret after a restart, %v", err)
	}
	if again, err := s.Key("dashboard"); err != nil || !bytes.Equal(again, token) {
		t.Errorf("another key after a restart, %v", err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "networks", "lab-1.secret"))
	if err != nil || string(text) != hex.EncodeToString(network[:])+"\n" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestConcurrentCallersGetTheSameNewSecret(t *testing.T) {
	s := open(t, t.TempDir())
	secrets := make([]protocol.NetworkSecret, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			if secrets[i], _, err = s.NetworkSecret("lab"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(slices.Compact(secrets)) != 1 {
		t.Errorf("different secrets: %v", secrets)
	}
}

func TestNamesThatCannotBeFilesAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	for _, name := range []string{"", "../identity", "a/b", "Lab", "a b", "ü", ".", strings.Repeat("a", 33), "a\x00b"} {
		_, _, err := s.NetworkSecret(name)
		wantCode(t, err, protocol.CodeBadRequest)
		_, err = s.Key(name)
		wantCode(t, err, protocol.CodeBadRequest)
	}
}

func TestSecretFilesThatCannotBeUsedAreNamed(t *testing.T) {
	t.Parallel()
	rsa, _, err := crypto.GenerateKeyPairWithReader(crypto.ECDSA, 0, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherKind, err := crypto.MarshalPrivateKey(rsa)
	if err != nil {
		t.Fatal(err)
	}
	digits := strings.Repeat("0123456789abcdef", 4)
	identity := func(s *Store) error { _, err := s.Identity(); return err }
	network := func(s *Store) error { _, _, err := s.NetworkSecret("lab"); return err }
	key := func(s *Store) error { _, err := s.Key("cache"); return err }
	for _, c := range []struct {
		name, file, content string
		use                 func(*Store) error
		fine                bool
	}{
		{"empty identity", "identity.key", "", identity, false},
		{"identity of garbage", "identity.key", "garbage", identity, false},
		{"identity of another kind", "identity.key", string(otherKind), identity, false},
		{"huge identity", "identity.key", strings.Repeat("x", 1<<20), identity, false},
		{"network secret with space around", "networks/lab.secret", " " + digits + "\r\n", network, true},
		{"network secret in capitals", "networks/lab.secret", strings.ToUpper(digits), network, true},
		{"short network secret", "networks/lab.secret", digits[:62] + "\n", network, false},
		{"long network secret", "networks/lab.secret", digits + "00\n", network, false},
		{"network secret of other characters", "networks/lab.secret", "zz" + digits[2:] + "\n", network, false},
		{"empty network secret", "networks/lab.secret", "", network, false},
		{"short key", "keys/cache.key", "short", key, false},
		{"long key", "keys/cache.key", strings.Repeat("k", 33), key, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			path := filepath.Join(s.dir, filepath.FromSlash(c.file))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			err := c.use(s)
			if c.fine {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCode(t, err, protocol.CodeFile)
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name %s", err, path)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != c.content {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOfferSequenceOnlyGrows(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var last uint64
	for _, step := range []struct {
		name    string
		now     time.Time
		calls   int
		restart bool
	}{
		{"the clock stands still", now, 1000, false},
		{"an hour later", now.Add(time.Hour), 10, false},
		{"the clock was set back", now, 1000, false},
		{"restart", now.Add(2 * time.Hour), 10, true},
		{"restart with the clock set back a year", now.AddDate(-1, 0, 0), 10, true},
		{"restart with a clock before 1970", time.Unix(-1, 0), 10, true},
	} {
		if step.restart {
			s = reopen(t, s)
		}
		for range step.calls {
			n, err := s.OfferSequence(step.now)
			if err != nil {
				t.Fatal(err)
			}
			if n <= last || int64(n) < step.now.UnixNano() {
				t.Fatalf("%s: %d after %d at %d", step.name, n, last, step.now.UnixNano())
			}
			last = n
		}
	}
	if ahead := time.Duration(int64(last) - now.Add(2*time.Hour).UnixNano()); ahead > 3*time.Minute {
		t.Errorf("%v ahead of the clock after three restarts", ahead)
	}
}

func newPeer(t *testing.T, addrs ...string) peer.AddrInfo {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	info := peer.AddrInfo{ID: id}
	for _, a := range addrs {
		info.Addrs = append(info.Addrs, multiaddr.StringCast(a))
	}
	return info
}

func TestPeersSeenLastAreRemembered(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	start := time.Now()
	var all []peer.AddrInfo
	for i := range 300 {
		info := newPeer(t, "/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/udp/4001/quic-v1")
		all = append(all, info)
		if err := s.RememberPeer(info, start.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
		if i == 150 {
			if err := s.commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	moved := peer.AddrInfo{ID: all[100].ID, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/10.0.0.1/tcp/1")}}
	if err := s.RememberPeer(moved, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Delete(all[44:], 100-44, 101-44), moved)
	slices.Reverse(want)
	for range 2 {
		got, err := s.Peers()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %d peers, want %d, or in another order", len(got), len(want))
		}
		s = reopen(t, s)
	}
}

func TestWhatIsRememberedOfAPeerIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	if err := s.RememberPeer(newPeer(t), now); err != nil {
		t.Errorf("a peer without addresses: %v", err)
	}
	if err := s.RememberPeer(peer.AddrInfo{}, now); err == nil {
		t.Error("a peer without ID was taken")
	}
	many := newPeer(t, "/dns4/"+strings.Repeat("a", 300)+"/tcp/1")
	for i := range 100 {
		many.Addrs = append(many.Addrs, multiaddr.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", i+1)))
	}
	if err := s.RememberPeer(many, now); err != nil {
		t.Fatal(err)
	}
	got, err := s.Peers()
	if err != nil || len(got) != 1 || !slices.EqualFunc(got[0].Addrs, many.Addrs[1:17], multiaddr.Multiaddr.Equal) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPeerSeenOftenIsWrittenNowAndThen(t *testing.T) {
	s := open(t, t.TempDir())
	info, now := newPeer(t, "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/10.0.0.1/tcp/1"), time.Now()
	for i, c := range []struct {
		after   time.Duration
		written bool
	}{{0, true}, {30 * time.Minute, false}, {time.Hour, true}, {61 * time.Minute, false}} {
		slices.Reverse(info.Addrs) // the same in another order
		if err := s.RememberPeer(info, now.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if written := !s.pending.empty(); written != c.written {
			t.Errorf("call %d: written %v, want %v", i, written, c.written)
		}
		if err := s.commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// evidence returns up to limit signed batches that are committed, the newest
// first.
func evidence(t *testing.T, s *Store, limit int) (list []*protocol.Evidence) {
	t.Helper()
	err := s.db.view(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(evidenceBucket).Cursor()
		for key, record := cursor.Last(); key != nil && len(list) < limit; key, record = cursor.Prev() {
			e := new(protocol.Evidence)
			if err := proto.Unmarshal(record, e); err != nil {
				return err
			}
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEvidenceIsKeptWithinItsBound(t *testing.T) {
	s := open(t, t.TempDir())
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	network := protocol.NetworkSecret{1}.ID()
	saveOne := func(i int) {
		t.Helper()
		nonce := protocol.NewNonce()
		receipts := []*protocol.Receipt{{
			Requester: "someone", Provider: provider.String(), Nonce: nonce[:], WallUs: uint64(i),
		}}
		batch, err := protocol.SignReceipts(network, key, receipts)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SaveReceipts(provider, batch, receipts); err != nil {
			t.Fatal(err)
		}
	}
	check := func(limit, first, n int) {
		t.Helper()
		list := evidence(t, s, limit)
		if len(list) != n {
			t.Fatalf("%d batches, want %d", len(list), n)
		}
		for i, e := range list {
			if want := first - i; e.Receipts[0].WallUs != uint64(want) {
				t.Fatalf("batch %d is number %d, want %d", i, e.Receipts[0].WallUs, want)
			}
		}
	}
	for i := range 5 {
		saveOne(i)
	}
	s = reopen(t, s)
	check(10, 4, 5)
	check(2, 4, 2)
	newest := evidence(t, s, 1)
	if err := newest[0].Batch.Verify(network, provider, newest[0].Receipts); err != nil {
		t.Error(err)
	}
	s.keepEvidence = 10_000
	for i := range 20 {
		receipts := []*protocol.Receipt{{Nonce: make([]byte, 900), WallUs: uint64(5 + i)}}
		if err := s.SaveReceipts(provider, &protocol.ReceiptBatch{}, receipts); err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			if err := s.commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s = reopen(t, s)
	check(1000, 24, 10) // of somewhat less than 1,000 bytes each
	many := make([]*protocol.Receipt, protocol.MaxReceipts+1)
	if err := s.SaveReceipts(provider, &protocol.ReceiptBatch{}, many); err == nil {
		t.Error("more receipts than a batch can have were taken")
	}
}
