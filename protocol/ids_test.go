package protocol

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

func TestParseDigest(t *testing.T) {
	want := DigestOf([]byte("hello"))
	for _, text := range []string{want.String(), strings.ToUpper(want.String()), want.CID()} {
		if got, err := ParseDigest(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	sha1, err := multihash.Sum([]byte("hello"), multihash.SHA1, -1)
	if err != nil {
		t.Fatal(err)
	}
	short, err := multihash.Sum([]byte("hello"), multihash.SHA2_256, 20)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := multihash.Sum([]byte("hello"), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":                          "",
		"half a digest":                    want.String()[:32],
		"an odd number of characters":      want.String()[:63],
		"a digest and more":                want.String() + "00",
		"neither hex nor CID":              "digest",
		"a CID by sha1":                    cid.NewCidV1(cid.Raw, sha1).String(),
		"a CID by a cut sha2-256":          cid.NewCidV1(cid.Raw, short).String(),
		"a CID of a tree":                  cid.NewCidV1(cid.DagProtobuf, whole).String(),
		"a CID of a tree in old style, Qm": cid.NewCidV0(whole).String(),
	} {
		if d, err := ParseDigest(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %s, %v, want ErrMalformed", name, d, err)
		}
	}
}

func TestTaskID(t *testing.T) {
	seen := map[TaskID]bool{}
	for range 1000 {
		id := NewTaskID()
		if len(id) != TaskIDLen || !ValidIDPrefix(string(id)) || seen[id] {
			t.Fatalf("task ID %q is not valid, or not new", id)
		}
		seen[id] = true
	}
	for text, ok := range map[string]bool{
		"a": true, "abcdefgh23": true, "": false, "abcdefgh234": false, "ABC": false, "a1": false, "a-": false, "ä": false,
	} {
		if ValidIDPrefix(text) != ok {
			t.Errorf("ValidIDPrefix(%q) is %v", text, !ok)
		}
	}
}

func TestNetworkIDHidesTheSecret(t *testing.T) {
	a, b := NetworkSecret{1}, NetworkSecret{2}
	if a.ID() == b.ID() || a.ID() == NetworkID(a) || a.ID() == NetworkID(DigestOf(a[:])) {
		t.Error("the ID must differ by secret, from the secret, and from its bare digest")
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		StateQueued.Word(): "queued", StateFetching.Word(): "fetching", StateCompiling.Word(): "compiling",
		StateRunning.Word(): "running", StateDone.Word(): "done", StateRefused.Word(): "refused",
		StateLost.Word(): "lost", StateCancelled.Word(): "cancelled",
		FromGuest.Word(): "guest", FromSystem.Word(): "system",
		Open.Word(): "open", Full.Word(): "full", Paused.Word(): "paused", OwnerBusy.Word(): "owner-busy",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for s, ended := range map[State]bool{
		StateQueued: false, StateFetching: false, StateCompiling: false, StateRunning: false,
		StateDone: true, StateRefused: true, StateLost: true, StateCancelled: true,
	} {
		if s.Ended() != ended {
			t.Errorf("%s: Ended is %v", s.Word(), !ended)
		}
	}
}

func TestErrorForPeople(t *testing.T) {
	err := Errorf(CodeNoOffers, "%d peers reachable, none offers %s", 3, "8GiB").WithHint("try --mem %s", "2GiB")
	if got, want := err.Error(), "E-NO-OFFERS: 3 peers reachable, none offers 8GiB; try --mem 2GiB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := CodeOf(fmt.Errorf("place: %w", err)); got != CodeNoOffers {
		t.Errorf("CodeOf a wrapped error is %s", got)
	}
	if got := CodeOf(errors.New("something")); got != CodeInternal {
		t.Errorf("CodeOf an error without a code is %s", got)
	}
	for code, want := range map[Code]int{
		CodeTimeout: 124, CodeBusy: 125, CodeNoPeers: 125, CodeOutputLimit: 125, CodeMemoryLimit: 125,
		CodeBadModule: 126, CodeImport: 126, CodeNotFound: 127, CodeTrap: 134, CodeUsage: 2,
	} {
		if got := code.ExitStatus(); got != want {
			t.Errorf("%s: exit status %d, want %d", code, got, want)
		}
	}
}

func TestSafeText(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"plain text":                 {"a peer's name", "a peer's name"},
		"other alphabets":            {"Käse 東京", "Käse 東京"},
		"several lines":              {"a\nb\r\nc\td", "a b  c d"},
		"line separators of Unicode": {"a\u2028b\u2029c", "a b c"},
		"an escape that clears":      {"\x1b[2Jgone", "[2Jgone"},
		"an escape of eight bits":    {"a\u009b31mred", "a31mred"},
		"text turned around":         {"abc\u202egpj.exe", "abcgpj.exe"},
		"invisible text":             {"a\u200b\ufeffb", "ab"},
		"not UTF-8":                  {"a\xff\xfeb", "a\uFFFDb"},
		"too long":                   {strings.Repeat("x", MaxText+1), strings.Repeat("x", MaxText-3) + "…"},
		"too long, between runes":    {strings.Repeat("é", MaxText), strings.Repeat("é", (MaxText-3)/2) + "…"},
	} {
		if got := SafeText(test.in); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
