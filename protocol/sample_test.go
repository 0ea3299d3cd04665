package protocol

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Samples: the same bytes in every run, for golden files, tables and seeds.

var sampleNetwork = NetworkSecret(bytes.Repeat([]byte{7}, 32)).ID()

// sampleKey returns the key and peer ID made from 32 bytes of b.
func sampleKey(t testing.TB, b byte) (crypto.PrivKey, peer.ID) {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

func digestBytes(text string) []byte {
	d := DigestOf([]byte(text))
	return d[:]
}

func sampleSpec() *Spec {
	return &Spec{
		Module:      &Blob{Digest: digestBytes("module"), Size: 26 << 20},
		Args:        []string{"wordcount", "-l", "naïve"},
		Env:         []string{"LANG=C", "EMPTY="},
		Stdin:       NewBlob([]byte("hello\n")),
		Limits:      DefaultLimits(),
		Profile:     Profile,
		Seed:        42,
		ClockUnixNs: DefaultClock.UnixNano(),
		Inputs:      []*File{{Path: "/in/a", Blob: NewBlob([]byte("input"))}, {Path: "/in/b/c", Blob: &Blob{Digest: digestBytes("large"), Size: 1 << 20}}},
	}
}

// sampleResult is what a result digest covers, with a value for each field.
func sampleResult() *Result {
	out := DigestOf([]byte("output"))
	return &Result{
		ExitCode: -7,
		Code:     string(CodeTrap),
		Stdout:   &Blob{Digest: out[:], Size: 6},
		Gas:      1 << 40,
		Files:    []*File{{Path: "/out/a", Blob: &Blob{Digest: digestBytes("file"), Size: 4}}},
	}
}

func sampleOffer(provider peer.ID) *Offer {
	return &Offer{
		Provider:    provider.String(),
		Sequence:    1_750_000_000_000_000_000,
		TtlMs:       60_000,
		MemoryBytes: 1 << 30,
		OutputBytes: 64 << 20,
		WallMs:      3_600_000,
		Speed:       1.25,
		Profile:     Profile,
		Warm:        [][]byte{digestBytes("module"), digestBytes("another")},
		Load:        &Load{Slots: 4, Running: 2, Queued: 1, MeanRunUs: 1500, Availability: Open},
		Version:     "v0.1.0",
		Arch:        "linux/amd64",
		Gas:         DefaultGas,
		FileBytes:   DefaultFileBytes,
		Files:       DefaultFiles,
		ModuleBytes: MaxModule,
		Labels:      map[string]string{"site": "berlin", "gpu": "no"},
	}
}

func sampleReceipt(t testing.TB) *Receipt {
	_, requester := sampleKey(t, 1)
	_, provider := sampleKey(t, 2)
	return &Receipt{
		Requester:    requester.String(),
		Provider:     provider.String(),
		Nonce:        bytes.Repeat([]byte{9}, 16),
		SpecDigest:   digestBytes("spec"),
		ResultDigest: digestBytes("result"),
		Gas:          5678,
		WallUs:       1234,
		EndedUnixMs:  1_750_000_000_000,
	}
}

func sampleOutcome(t testing.TB) *Outcome {
	stdout := []byte("1 1 6\n")
	sum := DigestOf(stdout)
	result := &Result{
		Stdout: &Blob{Digest: sum[:], Size: uint64(len(stdout))},
		Stderr: &Blob{Digest: digestBytes("")},
		WallUs: 1234,
		Gas:    5678,
	}
	digest := ResultDigest(result, Profile)
	result.Digest = digest[:]
	return &Outcome{
		Result:  result,
		Receipt: sampleReceipt(t),
		Load:    &Load{Slots: 4},
		Stdout:  stdout,
	}
}

func sampleRun(t testing.TB) *Run {
	t.Helper()
	spec, err := sampleSpec().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &Run{Spec: spec, Nonce: bytes.Repeat([]byte{9}, 16), Task: "abcdefgh23", Attempt: 1}
}

func sampleAsk(t testing.TB) *Ask {
	return &Ask{Id: 5, Body: &Ask_Run{Run: sampleRun(t)}}
}

func sampleReply(t testing.TB) *Reply {
	return &Reply{Id: 5, Body: &Reply_Outcome{Outcome: sampleOutcome(t)}}
}
