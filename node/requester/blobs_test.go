package requester

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// request asks the requester for a blob as a provider does. The header is nil
// when the stream breaks off instead.
func (x *exchangeWithFake) request(m *protocol.BlobRequest) (*protocol.Conn, *protocol.BlobHeader) {
	ours, theirs := net.Pipe()
	x.world.wg.Go(func() {
		x.world.requester.ServeBlob(context.Background(), protocol.NewConn(theirs, x.fakeProvider.id, protocol.MaxBlobMessage))
	})
	conn := protocol.NewConn(ours, x.world.self, protocol.MaxBlobMessage)
	header := new(protocol.BlobHeader)
	if conn.Send(m) != nil || conn.Recv(header) != nil {
		return conn, nil
	}
	return conn, header
}

// spoil overwrites a blob in the requester's store by as many other bytes.
func (w *world) spoil(b *protocol.Blob) {
	w.t.Helper()
	hex := b.Sum().String()
	if err := os.WriteFile(filepath.Join(w.home, "blobs", hex[:2], hex), make([]byte, b.Size), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// large is a blob's bytes that never ride inline.
var large = bytes.Repeat([]byte("large"), protocol.MaxInline/5+1)

// runOn runs a task whose stdin is the blob to its end.
func (w *world) runOn(stdin *protocol.Blob) *protocol.Task {
	w.t.Helper()
	spec := w.spec()
	spec.Stdin = stdin
	task, err := w.requester.Do(context.Background(), spec, &protocol.Terms{Where: protocol.WhereRemote}, "prog")
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

func TestRequesterProvesThatItHasABlob(t *testing.T) {
	stranger := newFakeProvider(t, honest)
	inWorld(t, nil, func(t *testing.T, w *world) {
		stdin, other := w.put(large), w.put([]byte("of another task"))
		w.offer(newFakeProvider(t, func(x *exchangeWithFake) {
			defer honest(x)
			challenge := protocol.NewChallenge()
			mine := func(change func(*protocol.BlobRequest)) *protocol.BlobRequest {
				m := &protocol.BlobRequest{Digest: stdin.Digest, Nonce: x.ask.Nonce, Challenge: challenge[:]}
				change(m)
				return m
			}
			right := protocol.NewBlobProof(challenge)
			right.Write(large)
			as := *x
			as.fakeProvider = stranger
			for name, c := range map[string]struct {
				by      *exchangeWithFake
				request *protocol.BlobRequest
				want    *protocol.BlobHeader // nil: the stream breaks off
			}{
				"right":                {x, mine(func(*protocol.BlobRequest) {}), &protocol.BlobHeader{Proof: right.Sum(nil)}},
				"another blob":         {x, mine(func(m *protocol.BlobRequest) { m.Digest = other.Digest }), &protocol.BlobHeader{Code: string(protocol.CodeRefused)}},
				"no such lease":        {x, mine(func(m *protocol.BlobRequest) { m.Nonce = make([]byte, 16) }), &protocol.BlobHeader{Code: string(protocol.CodeRefused)}},
				"another's lease":      {&as, mine(func(*protocol.BlobRequest) {}), &protocol.BlobHeader{Code: string(protocol.CodeRefused)}},
				"a short challenge":    {x, mine(func(m *protocol.BlobRequest) { m.Challenge = challenge[:31] }), nil},
				"a long challenge":     {x, mine(func(m *protocol.BlobRequest) { m.Challenge = append(challenge[:], 0) }), nil},
				"a digest of no bytes": {x, mine(func(m *protocol.BlobRequest) { m.Digest = nil }), nil},
			} {
				conn, got := c.by.request(c.request)
				if (got == nil) != (c.want == nil) || got.GetCode() != c.want.GetCode() || !bytes.Equal(got.GetProof(), c.want.GetProof()) || got.GetSize() != 0 {
					t.Errorf("%s: answered %v, want %v", name, got, c.want)
				}
				if rest, _ := io.ReadAll(conn); len(rest) > 0 {
					t.Errorf("%s: %d bytes follow", name, len(rest))
				}
				conn.Reset()
			}
			again := protocol.NewChallenge()
			conn, got := x.request(mine(func(m *protocol.BlobRequest) { m.Challenge = again[:] }))
			conn.Reset()
			if got == nil || len(got.Proof) != 32 || bytes.Equal(got.Proof, right.Sum(nil)) {
				t.Errorf("another challenge is answered %v", got)
			}
		}))
		check(t, w.runOn(stdin), protocol.StateDone, 0, "")
	})
}

func TestLeaseIsOnTheBlobsOfATask(t *testing.T) {
	stranger := newFakeProvider(t, honest)
	inWorld(t, nil, func(t *testing.T, w *world) {
		stdin, other := w.put(large), w.put([]byte("of another task"))
		w.offer(newFakeProvider(t, func(x *exchangeWithFake) {
			defer honest(x)
			spec, err := protocol.ParseSpec(x.ask.Spec)
			if err != nil {
				t.Error(err)
				return
			}
			for name, c := range map[string]struct {
				by         *fakeProvider
				nonce      []byte
				blob       *protocol.Blob
				module, ok bool
			}{
				"stdin":           {x.fakeProvider, x.ask.Nonce, stdin, false, true},
				"the module":      {x.fakeProvider, x.ask.Nonce, spec.Module, true, true},
				"another blob":    {x.fakeProvider, x.ask.Nonce, other, false, false},
				"no such lease":   {x.fakeProvider, make([]byte, 16), stdin, false, false},
				"no nonce":        {x.fakeProvider, []byte("short"), stdin, false, false},
				"another's lease": {stranger, x.ask.Nonce, stdin, false, false},
			} {
				if module, ok := w.requester.Lease(c.by.id, c.nonce, c.blob.Sum()); module != c.module || ok != c.ok {
					t.Errorf("%s: %v, as a module %v", name, ok, module)
				}
			}
			for range 2 * maxAsked {
				w.requester.Lease(x.fakeProvider.id, x.ask.Nonce, stdin.Sum())
			}
			if _, ok := w.requester.Lease(x.fakeProvider.id, x.ask.Nonce, stdin.Sum()); ok {
				t.Error("it may ask without end")
			}
		}))
		check(t, w.runOn(stdin), protocol.StateDone, 0, "")
	})
}

func TestBlobsAreGivenNotWithoutEnd(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		stdin := w.put(large)
		given, refused := 0, 0
		w.offer(newFakeProvider(t, func(x *exchangeWithFake) {
			defer honest(x)
			x.lease()
			for range 100 {
				switch _, code := x.fetch(stdin.Sum(), x.ask.Nonce); code {
				case "":
					given++
				case protocol.CodeBusy:
					refused++
				}
			}
		}))
		check(t, w.runOn(stdin), protocol.StateDone, 0, "")
		if most := maxAsked * 2; given == 0 || given > most || given+refused != 100 { // two blobs
			t.Errorf("given %d times, at most %d, and refused %d times", given, most, refused)
		}
	})
}

// Whoever finds that a blob of the task is damaged in the requester's store:
// the task ends at once and says what is to be done.
func TestTaskWhoseBlobIsDamagedHereEnds(t *testing.T) {
	fails := func(x *exchangeWithFake) {
		x.finish(&protocol.Outcome{Code: string(protocol.CodeBlob), Message: "the blob is not what it should be"})
	}
	for how, find := range map[string]func(x *exchangeWithFake, b *protocol.Blob){
		"while it is sent": func(x *exchangeWithFake, b *protocol.Blob) {
			if got, code := x.fetch(b.Sum(), x.ask.Nonce); got == string(large) || code != "" {
				x.world.t.Errorf("%d bytes came, with %q", len(got), code)
			}
			<-x.gone
		},
		"while it is proved": func(x *exchangeWithFake, b *protocol.Blob) {
			challenge := protocol.NewChallenge()
			conn, _ := x.request(&protocol.BlobRequest{Digest: b.Digest, Nonce: x.ask.Nonce, Challenge: challenge[:]})
			conn.Reset()
			<-x.gone
		},
		"while it is fetched, and fails first": func(x *exchangeWithFake, b *protocol.Blob) {
			_, _ = x.fetch(b.Sum(), x.ask.Nonce) // not what is tested here
			fails(x)
		},
		// The own node's provider has the same store, and feeds it to its worker.
		"by the own node's provider": func(x *exchangeWithFake, b *protocol.Blob) {
			x.world.store.Blobs().Drop(b.Sum())
			fails(x)
		},
		"as its file is gone": func(x *exchangeWithFake, b *protocol.Blob) {
			hex := b.Sum().String()
			if err := os.Remove(filepath.Join(x.world.home, "blobs", hex[:2], hex)); err != nil {
				x.world.t.Error(err)
			}
			if got, code := x.fetch(b.Sum(), x.ask.Nonce); got != "" || (code != protocol.CodeBlob && code != protocol.CodeLost) {
				x.world.t.Errorf("%d bytes came, with %q", len(got), code)
			}
			<-x.gone
		},
	} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				stdin := w.put(large)
				finder := newFakeProvider(t, func(x *exchangeWithFake) {
					x.lease()
					find(x, stdin)
				})
				finder.speed = 4 // so that it is the first choice
				spare := newFakeProvider(t, honest)
				w.offer(finder)
				w.offer(spare)
				w.spoil(stdin)
				task := w.runOn(stdin)
				check(t, task, protocol.StateDone, int32(protocol.CodeBlob.ExitStatus()), protocol.CodeBlob)
				if r := task.Result; !strings.Contains(r.Message, "stdin") || !strings.Contains(r.Message, "damaged in this node's store") || !strings.Contains(r.Hint, "upload it again") {
					t.Errorf("it ended with %q; %q", r.Message, r.Hint)
				}
				if w.store.Blobs().Has(stdin.Sum()) || spare.runs() > 0 {
					t.Errorf("the damaged blob is kept %v, and a spare was asked %d times", w.store.Blobs().Has(stdin.Sum()), spare.runs())
				}
			})
		})
	}
}

// A provider's own damage is its own: another one is asked.
func TestBlobDamagedAtAProviderMovesOn(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		stdin := w.put(large)
		bad := newFakeProvider(t, func(x *exchangeWithFake) {
			x.lease()
			x.finish(&protocol.Outcome{Code: string(protocol.CodeBlob), Message: "the blob is damaged here"})
		})
		bad.speed = 4
		w.offer(bad)
		w.offer(newFakeProvider(t, honest))
		task := w.runOn(stdin)
		check(t, task, protocol.StateDone, 0, "")
		if got := states(task); got != "failed done" {
			t.Errorf("the attempts ended %s", got)
		}
	})
}

func TestSlowTransfersStartASpare(t *testing.T) {
	const mib = 1 << 20
	// sends sends a file of size bytes, so many of them each time.
	sends := func(size, each int, every time.Duration) func(*exchangeWithFake, *protocol.Blob) {
		return func(x *exchangeWithFake, _ *protocol.Blob) {
			data := strings.Repeat("x", size)
			out := x.stream()
			write(out, 1, "hello\n")
			begin(out, "/out/a", uint64(size))
			for rest := data; rest != ""; rest = rest[min(len(rest), each):] {
				select {
				case <-time.After(every):
					write(out, 3, rest[:min(len(rest), each)])
				case <-x.gone:
					return
				}
			}
			write(out, 0, "")
			x.finish(x.left(file{"/out/a", data}))
		}
	}
	// takes takes stdin, so many bytes each time.
	takes := func(each int, every time.Duration) func(*exchangeWithFake, *protocol.Blob) {
		return func(x *exchangeWithFake, b *protocol.Blob) {
			conn, header := x.request(&protocol.BlobRequest{Digest: b.Digest, Nonce: x.ask.Nonce})
			defer conn.Reset()
			for left := int(header.GetSize()); left > 0; left -= each {
				select {
				case <-time.After(every):
					if _, err := io.ReadFull(conn, make([]byte, min(left, each))); err != nil {
						return
					}
				case <-x.gone:
					return
				}
			}
			out := x.stream()
			write(out, 1, "hello\n")
			write(out, 0, "")
			x.finish(x.left())
		}
	}
	for name, c := range map[string]struct {
		transfer func(*exchangeWithFake, *protocol.Blob)
		stdin    int  // its bytes, about
		spare    bool // whether one is started
	}{
		"files at 2 MiB/s":          {sends(12*mib, 32<<10, time.Second/64), 0, false},
		"files at half a MiB/s":     {sends(12*mib, 32<<10, time.Second/16), 0, true},
		"files that do not go on":   {sends(12*mib, 32<<10, time.Hour), 0, true},
		"files that trickle":        {sends(12*mib, 1, time.Second), 0, true},
		"a blob taken at 2 MiB/s":   {takes(32<<10, time.Second/64), 12 * mib, false},
		"a blob taken at .5 MiB/s":  {takes(32<<10, time.Second/16), 12 * mib, true},
		"a blob that is not taken":  {takes(32<<10, time.Hour), 12 * mib, true},
		"output that does not come": {func(x *exchangeWithFake, _ *protocol.Blob) { x.stream(); x.finish(x.left()); <-x.gone }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				stdin := w.put(bytes.Repeat(large, c.stdin/len(large)))
				first := newFakeProvider(t, func(x *exchangeWithFake) {
					x.lease()
					c.transfer(x, stdin)
				})
				first.speed, first.tells = 4, true
				spare := newFakeProvider(t, honest)
				w.offer(first)
				w.offer(spare)
				spec := w.spec()
				spec.Stdin, spec.Limits.FileBytes = stdin, 12*mib
				start := time.Now()
				task, err := w.requester.Do(context.Background(), spec, &protocol.Terms{Where: protocol.WhereRemote}, "prog")
				if err != nil {
					t.Fatal(err)
				}
				check(t, task, protocol.StateDone, 0, "")
				want := "done"
				if c.spare {
					want = "cancelled done"
				}
				// At half a MiB/s, 5 s of delay have grown after 10 s.
				if took := time.Since(start); states(task) != want || took > 11*time.Second || c.spare && took < slowAfter {
					t.Errorf("the attempts ended %s after %s", states(task), took)
				}
				if n := w.temporaries(); n != 0 {
					t.Errorf("%d temporary files are left", n)
				}
			})
		})
	}
}

func TestFullStoreRefusesOutputClearly(t *testing.T) {
	data := strings.Repeat("x", 200_000)
	for name, run := range map[string]func(*exchangeWithFake){
		"files": leaves(file{"/out/a", data}),
		"stdout": func(x *exchangeWithFake) {
			x.lease()
			out := x.stream()
			for rest := data; rest != ""; rest = rest[min(len(rest), protocol.MaxOutputChunk):] {
				write(out, 1, rest[:min(len(rest), protocol.MaxOutputChunk)])
			}
			<-x.gone
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakeProvider(t, run)
			spare := newFakeProvider(t, run)
			p.speed = 4
			inWorld(t, []*fakeProvider{p, spare}, func(t *testing.T, w *world) {
				pinned := w.put(make([]byte, 16<<20-200_000)) // of 16 MiB that the store has
				defer w.store.Blobs().Pin(pinned.Sum())()
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, int32(protocol.CodeFile.ExitStatus()), protocol.CodeFile)
				if r := task.Result; !strings.Contains(r.Message, "this node cannot keep the output: the 16777216 bytes for blobs are all in use") || !strings.Contains(r.Hint, "spare ps") {
					t.Errorf("it ended with %q; %q", r.Message, r.Hint)
				}
				if spare.runs() > 0 || w.temporaries() != 0 || len(task.Result.Files) > 0 || task.Result.FileCount > 0 {
					t.Errorf("%d spares were asked, %d temporary files are left: %v", spare.runs(), w.temporaries(), task.Result)
				}
			})
		})
	}
}
