package protocol

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// What a fuzz target feeds a decoder must either be refused with an error that
// wraps ErrMalformed, or keep every bound that the decoder promises. The seeds
// are valid, so that the fuzzer starts from what decodes.

// streams is what may be received on each kind of stream.
func streams() []struct {
	kind     StreamKind
	max      int
	messages []proto.Message
} {
	return []struct {
		kind     StreamKind
		max      int
		messages []proto.Message
	}{
		{TaskStream, TaskStream.MaxMessage(), []proto.Message{new(Ask), new(Reply)}},
		{LivenessStream, LivenessStream.MaxMessage(), []proto.Message{new(Beat)}},
		{OutputStream, OutputStream.MaxMessage(), []proto.Message{new(OutputHeader), new(OutputChunk)}},
		{BlobStream, BlobStream.MaxMessage(), []proto.Message{new(BlobRequest), new(BlobHeader)}},
		{TreeStream, TreeStream.MaxMessage(), []proto.Message{new(TreeRequest), new(TreeReply)}},
		{BookStream, BookStream.MaxMessage(), []proto.Message{new(BookPull), new(SignedOffer)}},
		{EchoStream, EchoStream.MaxMessage(), []proto.Message{new(Echo)}},
		{"handshake", MaxHandshake, []proto.Message{new(Hello), new(Proof)}},
	}
}

// FuzzRecv feeds the bytes of a stream to Recv, for each kind of stream.
func FuzzRecv(f *testing.F) {
	key, id := sampleKey(f, 2)
	signed, err := SignOffer(sampleNetwork, key, sampleOffer(id))
	if err != nil {
		f.Fatal(err)
	}
	all := streams()
	seed := func(kind StreamKind, messages ...proto.Message) {
		var b []byte
		for i, s := range all {
			if s.kind != kind {
				continue
			}
			for _, m := range messages {
				if b, err = appendFrame(b, m, s.max); err != nil {
					f.Fatal(err)
				}
			}
			f.Add(uint8(i), b)
		}
	}
	seed(TaskStream, sampleAsk(f), &Ask{Id: 5, Body: &Ask_Cancel{Cancel: &Cancel{}}}, &Ask{Id: 6, Body: &Ask_Probe{Probe: &Probe{}}})
	seed(TaskStream, &Reply{Id: 5, Body: &Reply_Lease{Lease: &Lease{Warm: true}}}, sampleReply(f))
	seed(TaskStream, &Reply{Id: 5, Body: &Reply_Refusal{Refusal: &Refusal{Code: string(CodeBusy), Load: &Load{Slots: 1}}}})
	seed(TaskStream, &Reply{Body: &Reply_Receipts{Receipts: &ReceiptBatch{Nonces: [][]byte{make([]byte, 16)}}}})
	seed(TaskStream, &Ask{Id: 7, Body: &Ask_Claim{Claim: &Claim{Nonce: make([]byte, 16), ReceiptOnly: true}}},
		&Ask{Body: &Ask_Settle{Settle: &Settle{Nonces: [][]byte{make([]byte, 16)}}}}, &Ask{Id: 8, Body: &Ask_Vouch{Vouch: &Vouch{Peer: "p"}}})
	seed(TaskStream, &Reply{Id: 7, Body: &Reply_Commitment{Commitment: &Commitment{Digest: digestBytes("result")}}},
		&Reply{Id: 8, Body: &Reply_Vouched{Vouched: &Vouched{Reached: true}}})
	seed(LivenessStream, &Beat{Sequence: 1, Progress: []*Progress{{Nonce: make([]byte, 16), State: StateRunning}}, Padding: make([]byte, 32)})
	seed(OutputStream, &OutputHeader{Nonce: make([]byte, 16)}, &OutputChunk{Fd: 1, Data: []byte("hello\n")}, &OutputChunk{})
	seed(BlobStream, &BlobRequest{Digest: digestBytes("blob"), Nonce: make([]byte, 16)}, &BlobHeader{Size: 4})
	seed(TreeStream, &TreeRequest{Digest: digestBytes("blob"), Nonce: make([]byte, 16), Grant: &Grant{Grantor: id.String(), ExpiresUnixMs: 1}},
		&TreeReply{Size: 1, Leaves: digestBytes("blob"), Holders: []string{id.String()}})
	seed(BookStream, &BookPull{}, signed)
	seed(EchoStream, &Echo{Sequence: 1})
	seed("handshake", &Hello{Network: "default", NetworkId: make([]byte, 32), Nonce: make([]byte, 32)}, &Proof{Mac: make([]byte, 32)})
	f.Add(uint8(0), bytes.Repeat([]byte{0xff}, 16))

	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := all[int(which)%len(all)]
		for _, sample := range s.messages {
			c := NewConn(&script{Reader: bytes.NewReader(b)}, "", s.max)
			taken := 0
			for {
				m := sample.ProtoReflect().New().Interface()
				err := c.Recv(m)
				if err != nil {
					if !errors.Is(err, ErrMalformed) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("%s: %v", s.kind, err)
					}
					break
				}
				if taken++; taken > len(b) {
					t.Fatalf("%s: %d messages out of %d bytes", s.kind, taken, len(b))
				}
				// A number of unusual length may double when written plainly.
				again, err := appendFrame(nil, m, 2*s.max)
				if err != nil {
					t.Fatalf("%s: what was received cannot be sent: %v", s.kind, err)
				}
				copied := sample.ProtoReflect().New().Interface()
				if err := NewConn(&script{Reader: bytes.NewReader(again)}, "", 2*s.max).Recv(copied); err != nil || !proto.Equal(m, copied) {
					t.Fatalf("%s: sent on it differs, %v", s.kind, err)
				}
			}
		}
	})
}

func FuzzParseSpec(f *testing.F) {
	b, err := sampleSpec().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSpec(b)
		if err != nil {
			wantMalformed(t, err)
			return
		}
		if s.Module.Size == 0 || s.Module.Size > MaxBlob || s.Stdin.Size > MaxBlob || len(s.Args) > MaxArgs || len(s.Env) > MaxArgs ||
			s.Limits.MemoryBytes > MaxMemory || s.Limits.OutputBytes > MaxOutput || s.Limits.Wall() <= 0 || s.Limits.Wall() > MaxWall {
			t.Fatalf("a spec beyond its bounds: %v", s)
		}
		if s.Stdin.IsInline() && DigestOf(s.Stdin.Inline) != s.Stdin.Sum() {
			t.Fatal("stdin is not what its digest says")
		}
		if strings.ContainsRune(strings.Join(append(s.Args, s.Env...), ""), 0) {
			t.Fatal("NUL in args or env")
		}
		// Marshalled again, it is a spec again, and from then on the same bytes.
		once, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if len(once) > MaxSpec {
			return // unusual encodings may grow by being written plainly
		}
		twice, err := ParseSpec(once)
		if err != nil || !proto.Equal(s, twice) {
			t.Fatalf("canonical bytes mean another spec: %v", err)
		}
	})
}

func FuzzOpenOffer(f *testing.F) {
	key, id := sampleKey(f, 2)
	signed, err := SignOffer(sampleNetwork, key, sampleOffer(id))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed.Offer, signed.Signature, false)
	f.Add(signed.Offer, signed.Signature[:10], true)
	f.Add([]byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, offer, signature []byte, resign bool) {
		if resign { // else the signature hides every later check
			if signature, err = key.Sign(signedBytes(offerContext, sampleNetwork, offer)); err != nil {
				t.Fatal(err)
			}
		}
		author, o, err := (&SignedOffer{Offer: offer, Signature: signature}).Open(sampleNetwork)
		if err != nil {
			wantMalformed(t, err)
			return
		}
		if author != id {
			t.Fatalf("an offer by %s, whose key was not there", author)
		}
		if !(o.Speed > 0 && o.Speed <= 1e6) || o.TTL() <= 0 || o.TTL() > MaxOfferTTL || len(o.Warm) > MaxWarm ||
			len(o.Version) > MaxText || len(o.Arch) > MaxText || len(offer) > MaxOffer || len(o.Labels) > MaxLabels {
			t.Fatalf("an offer beyond its bounds: %v", o)
		}
		for _, text := range LabelTexts(o.Labels) {
			if _, _, err := ParseLabel(text); err != nil || SafeText(text) != text {
				t.Fatalf("an offer with the label %q", text)
			}
		}
	})
}

func FuzzOutcome(f *testing.F) {
	failure := &Outcome{Code: string(CodeWorker), Message: "the worker died"}
	for _, o := range []*Outcome{sampleOutcome(f), failure} {
		b, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o := new(Outcome)
		if proto.Unmarshal(b, o) != nil {
			return
		}
		if err := o.Validate(); err != nil {
			wantMalformed(t, err)
			return
		}
		if o.Code != "" {
			if len(o.Code) > MaxText || len(o.Message) > MaxText {
				t.Fatal("texts beyond their bounds")
			}
			return
		}
		if o.Receipt == nil || len(o.Result.Stdout.Digest) != 32 || len(o.Result.Stderr.Digest) != 32 || len(o.Result.Digest) != 32 ||
			o.Result.Stdout.Size > MaxOutput || o.Result.Stderr.Size > MaxOutput || len(o.Result.Message) > MaxText {
			t.Fatalf("an outcome beyond its bounds: %v", o)
		}
	})
}

func FuzzBlob(f *testing.F) {
	for _, blob := range []*Blob{NewBlob(nil), NewBlob([]byte("hello\n")), {Digest: digestBytes("large"), Size: 1 << 20}} {
		b, err := proto.Marshal(blob)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		blob := new(Blob)
		if proto.Unmarshal(b, blob) != nil {
			return
		}
		if err := blob.Validate(); err != nil {
			wantMalformed(t, err)
			return
		}
		if blob.Size > MaxBlob || len(blob.Inline) > MaxInline {
			t.Fatalf("a blob beyond its bounds: %d bytes, %d inline", blob.Size, len(blob.Inline))
		}
		if blob.IsInline() && DigestOf(blob.Inline) != blob.Sum() {
			t.Fatal("inline bytes are not what their digest says")
		}
	})
}

func FuzzRun(f *testing.F) {
	b, err := proto.Marshal(sampleRun(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := new(Run)
		if proto.Unmarshal(b, r) != nil {
			return
		}
		if err := r.Validate(); err != nil {
			wantMalformed(t, err)
			return
		}
		if len(r.Nonce) != 16 || r.Task != "" && !ValidIDPrefix(r.Task) {
			t.Fatalf("a run beyond its bounds: %v", r)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	d := DigestOf([]byte("hello"))
	f.Add(d.String())
	f.Add(d.CID())
	f.Add("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			wantMalformed(t, err)
			return
		}
		for _, text := range []string{d.String(), d.CID()} {
			if again, err := ParseDigest(text); err != nil || again != d {
				t.Fatalf("%q is read as %s, which is written %q: %v", s, d, text, err)
			}
		}
	})
}

func FuzzSafeText(f *testing.F) {
	f.Add("a peer's name")
	f.Add("\x1b]0;title\x07\u202e\u2028\xff\n")
	f.Add(strings.Repeat("é\x00", MaxText))
	f.Fuzz(func(t *testing.T, s string) {
		safe := SafeText(s)
		if len(safe) > MaxText || !utf8.ValidString(safe) {
			t.Fatalf("%d bytes, valid %v", len(safe), utf8.ValidString(safe))
		}
		for _, r := range safe {
			if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("%U is left in %q", r, safe)
			}
		}
		if again := SafeText(safe); again != safe {
			t.Fatalf("safe text %q is changed to %q", safe, again)
		}
	})
}

func wantMalformed(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMalformed) {
		t.Fatalf("%v does not wrap ErrMalformed", err)
	}
}
