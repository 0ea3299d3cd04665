package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
)

// change is one way to spoil, or not, a valid message.
type change[M proto.Message] struct {
	name string
	do   func(M)
	ok   bool
}

// checkChanges applies each change to a fresh sample.
func checkChanges[M proto.Message](t *testing.T, sample func() M, validate func(M) error, changes []change[M]) {
	t.Helper()
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			m := sample()
			c.do(m)
			err := validate(m)
			if c.ok && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !c.ok && !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, want ErrMalformed", err)
			}
		})
	}
}

func TestSpecBounds(t *testing.T) {
	small := func(b []byte) func(*Spec) { return func(s *Spec) { s.Stdin, s.Inputs = NewBlob(b), nil } }
	checkChanges(t, sampleSpec, (*Spec).Validate, []change[*Spec]{
		{"as it is", func(*Spec) {}, true},
		{"no module", func(s *Spec) { s.Module = nil }, false},
		{"no stdin", func(s *Spec) { s.Stdin = nil }, false},
		{"no limits", func(s *Spec) { s.Limits = nil }, false},
		{"an empty module", func(s *Spec) { s.Module = NewBlob(nil) }, false},
		{"an inline module", func(s *Spec) { s.Module = NewBlob([]byte("\x00asm")) }, false},
		{"a module digest that is too short", func(s *Spec) { s.Module.Digest = s.Module.Digest[:31] }, false},
		{"the largest module", func(s *Spec) { s.Module.Size = MaxBlob }, true},
		{"a module that is too large", func(s *Spec) { s.Module.Size = MaxBlob + 1 }, false},
		{"empty stdin", small(nil), true},
		{"the largest inline stdin", small(make([]byte, MaxInline)), true},
		{"stdin too large for inline", small(make([]byte, MaxInline+1)), true},
		{"inline stdin that is too large", func(s *Spec) {
			small(make([]byte, MaxInline+1))(s)
			s.Stdin.Inline = make([]byte, MaxInline+1)
		}, false},
		{"inline stdin of another size", func(s *Spec) { s.Stdin.Size++ }, false},
		{"inline stdin of another digest", func(s *Spec) { s.Stdin.Inline = []byte("hallo\n") }, false},
		{"empty stdin of another digest", func(s *Spec) { s.Stdin.Inline, s.Stdin.Size = nil, 0 }, false},
		{"no args and env", func(s *Spec) { s.Args, s.Env = nil, nil }, true},
		{"the most args", func(s *Spec) { s.Args = make([]string, MaxArgs) }, true},
		{"too many args", func(s *Spec) { s.Args = make([]string, MaxArgs+1) }, false},
		{"the longest arg", func(s *Spec) { s.Args = []string{strings.Repeat("a", MaxArgBytes-1)} }, true},
		{"args too long together", func(s *Spec) { s.Args = []string{"b", strings.Repeat("a", MaxArgBytes-2)} }, false},
		{"a NUL in an arg", func(s *Spec) { s.Args = []string{"a\x00b"} }, false},
		{"a NUL in the environment", func(s *Spec) { s.Env = []string{"A=\x00"} }, false},
		{"a variable without a value", func(s *Spec) { s.Env = []string{"A"} }, false},
		{"a variable without a name", func(s *Spec) { s.Env = []string{"=x"} }, false},
		{"a value with equal signs", func(s *Spec) { s.Env = []string{"A=b=c"} }, true},
		{"no memory", func(s *Spec) { s.Limits.MemoryBytes = 0 }, false},
		{"one page of memory", func(s *Spec) { s.Limits.MemoryBytes = PageSize }, true},
		{"half a page of memory", func(s *Spec) { s.Limits.MemoryBytes = PageSize / 2 }, false},
		{"the most memory", func(s *Spec) { s.Limits.MemoryBytes = MaxMemory }, true},
		{"too much memory", func(s *Spec) { s.Limits.MemoryBytes = MaxMemory + PageSize }, false},
		{"no output", func(s *Spec) { s.Limits.OutputBytes = 0 }, false},
		{"the most output", func(s *Spec) { s.Limits.OutputBytes = MaxOutput }, true},
		{"too much output", func(s *Spec) { s.Limits.OutputBytes = MaxOutput + 1 }, false},
		{"no time", func(s *Spec) { s.Limits.WallMs = 0 }, false},
		{"the most time", func(s *Spec) { s.Limits.WallMs = uint64(MaxWall.Milliseconds()) }, true},
		{"too much time", func(s *Spec) { s.Limits.WallMs = uint64(MaxWall.Milliseconds()) + 1 }, false},
		{"time that overflows", func(s *Spec) { s.Limits.WallMs = math.MaxUint64 }, false},
		{"no gas", func(s *Spec) { s.Limits.Gas = 0 }, false},
		{"the most gas", func(s *Spec) { s.Limits.Gas = MaxGas }, true},
		{"too much gas", func(s *Spec) { s.Limits.Gas = MaxGas + 1 }, false},
		{"no files at all", func(s *Spec) { s.Inputs, s.Limits.Files, s.Limits.FileBytes = nil, 0, 0 }, true},
		{"too many bytes in files", func(s *Spec) { s.Limits.FileBytes = MaxFileBytes + 1 }, false},
		{"too many files", func(s *Spec) { s.Limits.Files = MaxFiles + 1 }, false},
		{"an input without bytes", func(s *Spec) { s.Inputs[0].Blob = nil }, false},
		{"an input elsewhere", func(s *Spec) { s.Inputs[0].Path = "/etc/passwd" }, false},
		{"an input without a name", func(s *Spec) { s.Inputs[0].Path = "/in/" }, false},
		{"an input that is /in", func(s *Spec) { s.Inputs[0].Path = "/in" }, false},
		{"an input that climbs", func(s *Spec) { s.Inputs[0].Path = "/in/../a" }, false},
		{"an input with a NUL", func(s *Spec) { s.Inputs[0].Path = "/in/a\x00" }, false},
		{"an input that is not UTF-8", func(s *Spec) { s.Inputs[0].Path = "/in/a\xff" }, false},
		{"the longest path", func(s *Spec) { s.Inputs[0].Path = longPath("/in/a") }, true},
		{"too long a path", func(s *Spec) { s.Inputs[0].Path = longPath("/in/aa") }, false},
		{"the longest name", func(s *Spec) { s.Inputs[0].Path = "/in/" + strings.Repeat("a", maxName) }, true},
		{"too long a name", func(s *Spec) { s.Inputs[0].Path = "/in/" + strings.Repeat("a", maxName+1) }, false},
		{"an input that turns the text around", func(s *Spec) { s.Inputs[0].Path = "/in/a\u202eb" }, false},
		{"an input of two lines", func(s *Spec) { s.Inputs[0].Path = "/in/a\u2028b" }, false},
		{"inputs out of order", func(s *Spec) { s.Inputs[0], s.Inputs[1] = s.Inputs[1], s.Inputs[0] }, false},
		{"an input twice", func(s *Spec) { s.Inputs[1].Path = s.Inputs[0].Path }, false},
		{"an input within another", func(s *Spec) { s.Inputs[0].Path = "/in/b" }, false},
		{"inputs of more bytes than the limit", func(s *Spec) { s.Limits.FileBytes = 1 << 20 }, false},
		{"inputs of just the limit", func(s *Spec) { s.Limits.FileBytes = 1<<20 + 5 }, true},
		{"as many files as inputs and their directories", func(s *Spec) { s.Limits.Files = 3 }, true},
		{"fewer files than inputs and their directories", func(s *Spec) { s.Limits.Files = 2 }, false},
		{"stdin and inputs too large inline", func(s *Spec) {
			s.Stdin, s.Inputs[0].Blob = NewBlob(make([]byte, MaxInline)), NewBlob([]byte("1"))
		}, false},
	})
}

// longPath is [MaxPath] bytes long below a directory of 5.
func longPath(dir string) string {
	return dir + "/" + strings.Repeat("b", 250) + "/" + strings.Repeat("c", MaxPath-5-252)
}

// TestLargestSpecFits joins the bounds of the parts to the bound of the whole.
func TestLargestSpecFits(t *testing.T) {
	s := sampleSpec()
	arg := strings.Repeat("a", MaxArgBytes/MaxArgs-1)
	s.Args, s.Env = nil, nil
	for range MaxArgs {
		s.Args = append(s.Args, arg)
		s.Env = append(s.Env, "A="+arg[2:])
	}
	s.Stdin = NewBlob(make([]byte, MaxInline))
	s.Inputs = nil
	for i := range MaxInputs {
		s.Inputs = append(s.Inputs, &File{
			Path: fmt.Sprintf("/in/%0*d", maxInputList/MaxInputs-inputOverhead-len("/in/"), i),
			Blob: &Blob{Digest: digestBytes("x"), Size: 100_000},
		})
	}
	s.Limits.Files, s.Limits.FileBytes = MaxFiles, MaxFileBytes
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSpec(b); err != nil {
		t.Fatal(err)
	}
	run := sampleRun(t)
	run.Spec = b
	if _, err := appendFrame(nil, &Ask{Id: math.MaxUint64, Body: &Ask_Run{Run: run}}, MaxTaskMessage); err != nil {
		t.Error(err)
	}
}

func TestParseSpec(t *testing.T) {
	b, err := sampleSpec().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSpec(b)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, sampleSpec()) {
		t.Errorf("got %v, want %v", got, sampleSpec())
	}
	for name, bad := range map[string][]byte{
		"nothing":          nil,
		"too large":        make([]byte, MaxSpec+1),
		"cut off":          b[:len(b)/2],
		"followed by junk": append(bytes.Clone(b), 0xff),
	} {
		if _, err := ParseSpec(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestRunBounds(t *testing.T) {
	checkChanges(t, func() *Run { return sampleRun(t) }, (*Run).Validate, []change[*Run]{
		{"as it is", func(*Run) {}, true},
		{"no nonce", func(r *Run) { r.Nonce = nil }, false},
		{"a nonce that is too long", func(r *Run) { r.Nonce = make([]byte, 17) }, false},
		{"a task ID that is too long", func(r *Run) { r.Task += "a" }, false},
		{"a task ID of other characters", func(r *Run) { r.Task = "ab/../cd" }, false},
	})
}

func TestOutcomeBounds(t *testing.T) {
	checkChanges(t, func() *Outcome { return sampleOutcome(t) }, (*Outcome).Validate, []change[*Outcome]{
		{"as it is", func(*Outcome) {}, true},
		{"no result", func(o *Outcome) { o.Result = nil }, false},
		{"no receipt", func(o *Outcome) { o.Receipt = nil }, false},
		{"no stdout", func(o *Outcome) { o.Result.Stdout = nil }, false},
		{"no stderr", func(o *Outcome) { o.Result.Stderr = nil }, false},
		{"a result digest that is too short", func(o *Outcome) { o.Result.Digest = []byte{1} }, false},
		{"a stdout digest that is too long", func(o *Outcome) { o.Result.Stdout.Digest = make([]byte, 33) }, false},
		{"no stderr digest", func(o *Outcome) { o.Result.Stderr.Digest = nil }, false},
		{"the most output", func(o *Outcome) { o.Result.Stdout.Size = MaxOutput }, true},
		{"too much output", func(o *Outcome) { o.Result.Stdout.Size = MaxOutput + 1 }, false},
		{"stdout told twice", func(o *Outcome) { o.Result.Stdout.Inline = []byte("1 1 6\n") }, false},
		{"a count of files beside the output stream", func(o *Outcome) { o.Result.FileCount = 1 }, false},
		{"files beside the output stream", func(o *Outcome) { o.Result.Files = []*File{{Path: "/out/a", Blob: NewBlob(nil)}} }, false},
		{"bytes of files beside the output stream", func(o *Outcome) { o.Result.Pack = NewBlob(nil) }, false},
		{"a receipt told twice", func(o *Outcome) { o.Result.Receipts = []*Receipt{o.Receipt} }, false},
		{"the longest message", func(o *Outcome) { o.Result.Message = strings.Repeat("a", MaxText) }, true},
		{"a message that is too long", func(o *Outcome) { o.Result.Message = strings.Repeat("a", MaxText+1) }, false},
		{"a failure and nothing else", func(o *Outcome) { proto.Reset(o); o.Code = string(CodeWorker) }, true},
		{"a failure whose text is too long", func(o *Outcome) { proto.Reset(o); o.Code, o.Message = "E", strings.Repeat("a", MaxText+1) }, false},
	})
}

func TestOfferBounds(t *testing.T) {
	key, id := sampleKey(t, 2)
	checkChanges(t, func() *Offer { return sampleOffer(id) }, func(o *Offer) error {
		signed, err := SignOffer(sampleNetwork, key, o)
		if err != nil {
			return err
		}
		author, opened, err := signed.Open(sampleNetwork)
		if err == nil && (author != id || !proto.Equal(opened, o)) {
			t.Errorf("opened %v by %s, want %v by %s", opened, author, o, id)
		}
		return err
	}, []change[*Offer]{
		{"as it is", func(*Offer) {}, true},
		{"no load, as in the DHT", func(o *Offer) { o.Load = nil }, true},
		{"no provider", func(o *Offer) { o.Provider = "" }, false},
		{"a provider that is no peer ID", func(o *Offer) { o.Provider = "nobody" }, false},
		{"a provider's name without end", func(o *Offer) { o.Provider = strings.Repeat("1", 3000) }, false},
		{"another provider", func(o *Offer) { _, other := sampleKey(t, 1); o.Provider = other.String() }, false},
		{"a provider whose ID holds no key", func(o *Offer) { o.Provider = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N" }, false},
		{"no validity", func(o *Offer) { o.TtlMs = 0 }, false},
		{"the longest validity", func(o *Offer) { o.TtlMs = uint32(MaxOfferTTL.Milliseconds()) }, true},
		{"a validity that is too long", func(o *Offer) { o.TtlMs = uint32(MaxOfferTTL.Milliseconds()) + 1 }, false},
		{"no speed", func(o *Offer) { o.Speed = 0 }, false},
		{"negative speed", func(o *Offer) { o.Speed = -1 }, false},
		{"speed that is no number", func(o *Offer) { o.Speed = math.NaN() }, false},
		{"endless speed", func(o *Offer) { o.Speed = math.Inf(1) }, false},
		{"the most warm modules", func(o *Offer) { o.Warm = warm(MaxWarm) }, true},
		{"too many warm modules", func(o *Offer) { o.Warm = warm(MaxWarm + 1) }, false},
		{"a warm module without a digest", func(o *Offer) { o.Warm = [][]byte{{1}} }, false},
		{"slots without end", func(o *Offer) { o.Load.Slots = math.MaxUint32 }, false},
		{"a queue without end", func(o *Offer) { o.Load.Queued = math.MaxUint32 }, false},
		{"running without end", func(o *Offer) { o.Load.Running = math.MaxUint32 }, false},
		{"a mean run that overflows", func(o *Offer) { o.Load.MeanRunUs = math.MaxUint64 }, false},
		{"a version that is too long", func(o *Offer) { o.Version = strings.Repeat("v", MaxText+1) }, false},
		{"a platform that is too long", func(o *Offer) { o.Arch = strings.Repeat("v", MaxText+1) }, false},
		{"no labels", func(o *Offer) { o.Labels = nil }, true},
		{"a label that begins a terminal's command", func(o *Offer) { o.Labels["site"] = "\x1b[2J" }, false},
		{"a label without a value", func(o *Offer) { o.Labels["site"] = "" }, false},
		{"a label that is too long", func(o *Offer) { o.Labels[strings.Repeat("k", MaxLabelKey+1)] = "v" }, false},
		{"too many labels", func(o *Offer) {
			for i := range MaxLabels {
				o.Labels["k"+strconv.Itoa(i)] = "v"
			}
		}, false},
		{"the most of everything", func(o *Offer) {
			o.Warm, o.Labels = warm(MaxWarm), make(map[string]string)
			for i := range MaxLabels {
				o.Labels[strings.Repeat("k", MaxLabelKey-2)+strconv.Itoa(10+i)] = strings.Repeat("v", MaxLabelValue)
			}
			o.Version, o.Arch = strings.Repeat("v", MaxText), strings.Repeat("v", MaxText)
		}, true},
		{"more bytes than an offer may have", func(o *Offer) { o.Arch = strings.Repeat("v", MaxOffer) }, false},
	})
}

func warm(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = digestBytes(string(rune(i)))
	}
	return list
}

func TestSignatures(t *testing.T) {
	key, id := sampleKey(t, 2)
	_, other := sampleKey(t, 1)
	another := NetworkSecret{1}.ID()

	t.Run("an offer", func(t *testing.T) {
		signed, err := SignOffer(sampleNetwork, key, sampleOffer(id))
		if err != nil {
			t.Fatal(err)
		}
		spoilt := proto.CloneOf(signed)
		spoilt.Offer[len(spoilt.Offer)-1] ^= 1
		unsigned := proto.CloneOf(signed)
		unsigned.Signature = nil
		wantOpen(t, "in its network", signed, sampleNetwork, nil)
		wantOpen(t, "in another network", signed, another, ErrMalformed)
		wantOpen(t, "with a changed byte", spoilt, sampleNetwork, ErrMalformed)
		wantOpen(t, "without a signature", unsigned, sampleNetwork, ErrMalformed)
		wantOpen(t, "of nothing", &SignedOffer{}, sampleNetwork, ErrMalformed)
	})
	t.Run("receipts", func(t *testing.T) {
		second := sampleReceipt(t)
		second.Nonce = []byte("another nonce 16")
		receipts := []*Receipt{sampleReceipt(t), second}
		batch, err := SignReceipts(sampleNetwork, key, receipts)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name     string
			net      NetworkID
			by       peer.ID
			receipts []*Receipt
			ok       bool
		}{
			{"as signed", sampleNetwork, id, receipts, true},
			{"in another network", another, id, receipts, false},
			{"by another provider", sampleNetwork, other, receipts, false},
			{"in another order", sampleNetwork, id, []*Receipt{second, receipts[0]}, false},
			{"one missing", sampleNetwork, id, receipts[:1], false},
			{"none", sampleNetwork, id, nil, false},
		} {
			if err := batch.Verify(test.net, test.by, test.receipts); (err == nil) != test.ok {
				t.Errorf("%s: %v, want ok %v", test.name, err, test.ok)
			}
		}
	})
	t.Run("one purpose never serves another", func(t *testing.T) {
		b, err := ReceiptBatchBytes(sampleNetwork, nil)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, []byte(offerContext)) {
			t.Error("receipts are signed in the context of offers")
		}
	})
}

func wantOpen(t *testing.T, name string, s *SignedOffer, net NetworkID, want error) {
	t.Helper()
	if _, _, err := s.Open(net); !errors.Is(err, want) {
		t.Errorf("offer %s: %v, want %v", name, err, want)
	}
}

func TestResultDigestCoversEachPart(t *testing.T) {
	base := ResultDigest(sampleResult(), Profile)
	for name, change := range map[string]func(*Result){
		"the exit code":   func(r *Result) { r.ExitCode = 2 },
		"a negative code": func(r *Result) { r.ExitCode = -r.ExitCode },
		"the error code":  func(r *Result) { r.Code = "" },
		"stdout":          func(r *Result) { r.Stdout.Digest = digestBytes("other") },
		"stdout's size":   func(r *Result) { r.Stdout.Size++ },
		"gas":             func(r *Result) { r.Gas++ },
		"no file":         func(r *Result) { r.Files = nil },
		"a file's path":   func(r *Result) { r.Files[0].Path = "/out/b" },
		"a file's bytes":  func(r *Result) { r.Files[0].Blob.Digest = digestBytes("other") },
		"a file's size":   func(r *Result) { r.Files[0].Blob.Size++ },
	} {
		r := sampleResult()
		change(r)
		if ResultDigest(r, Profile) == base {
			t.Errorf("%s does not count", name)
		}
	}
	if ResultDigest(sampleResult(), Profile+1) == base {
		t.Error("the profile does not count")
	}
	r := sampleResult()
	r.Message, r.WallUs, r.Stderr = "other", 77, &Blob{Digest: digestBytes("other")}
	if ResultDigest(r, Profile) != base {
		t.Error("equal results have different digests")
	}
}
