package requester

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// put stores a blob and names it.
func (w *world) put(b []byte) *protocol.Blob {
	w.t.Helper()
	d, size, err := w.store.Blobs().Put(bytes.NewReader(b), protocol.MaxBlob)
	if err != nil {
		w.t.Fatal(err)
	}
	return &protocol.Blob{Digest: d[:], Size: uint64(size)}
}

// fetch asks the requester for a blob as the provider of a replica does.
func (x *exchangeWithFake) fetch(d protocol.Digest, nonce []byte) (string, protocol.Code) {
	conn, header := x.request(&protocol.BlobRequest{Digest: d[:], Nonce: nonce})
	defer conn.Reset()
	if header == nil {
		return "", protocol.CodeLost
	}
	b := make([]byte, header.Size)
	_, _ = io.ReadFull(conn, b)
	return string(b), protocol.Code(header.Code)
}

// file is one output file of a run.
type file struct{ path, data string }

// sendFiles streams files.
func sendFiles(conn *protocol.Conn, files ...file) {
	for _, f := range files {
		begin(conn, f.path, uint64(len(f.data)))
		for rest := f.data; rest != ""; {
			n := min(len(rest), protocol.MaxOutputChunk)
			write(conn, 3, rest[:n])
			rest = rest[n:]
		}
	}
}

func begin(conn *protocol.Conn, path string, size uint64) {
	_ = conn.Send(&protocol.OutputChunk{File: &protocol.FileHeader{Path: path, Size: size}})
}

// leaves runs every program alike: it prints hello and leaves files.
func leaves(files ...file) func(*exchangeWithFake) {
	return func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "hello\n")
		sendFiles(out, files...)
		write(out, 0, "")
		x.finish(x.left(files...))
	}
}

// left is the honest outcome of such a run.
func (x *exchangeWithFake) left(files ...file) *protocol.Outcome {
	o := x.outcome(0, "hello\n")
	o.Streamed, o.Stdout = true, nil
	var list []*protocol.File
	for _, f := range files {
		sum := protocol.DigestOf([]byte(f.data))
		list = append(list, &protocol.File{Path: f.path, Blob: &protocol.Blob{Digest: sum[:], Size: uint64(len(f.data))}})
	}
	digested(o, list)
	return o
}

// wantFiles compares the files of a task with what they should be.
func (w *world) wantFiles(task *protocol.Task, files ...file) {
	w.t.Helper()
	if len(task.Result.Files) != len(files) {
		w.t.Fatalf("the task left %d files: %v", len(task.Result.Files), task.Result.Files)
	}
	for i, f := range files {
		rc, size, err := w.requester.OpenFile(protocol.TaskID(task.Id), f.path)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		got := task.Result.Files[i]
		if err != nil || string(b) != f.data || size != uint64(len(b)) || got.Path != f.path || got.Blob.Sum() != protocol.DigestOf(b) {
			w.t.Errorf("%s has %d bytes, of digest %s: %v", got.Path, len(b), got.Blob.Sum(), err)
		}
		if err := rc.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

func TestOutputFilesComeWithTheResult(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", protocol.MaxInline/16)
	for name, files := range map[string][]file{
		"small":         {{"/out/a", "first"}, {"/out/b", ""}, {"/out/d/c", "third"}},
		"empty":         {{"/out/a", ""}},
		"large":         {{"/out/a", "first"}, {"/out/b", large}, {"/out/c", "last"}},
		"as many as 10": {{"/out/0", "0"}, {"/out/1", "1"}, {"/out/2", "2"}, {"/out/3", "3"}, {"/out/4", "4"}, {"/out/5", "5"}, {"/out/6", "6"}, {"/out/7", "7"}, {"/out/8", "8"}, {"/out/9", "9"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, []*fakeProvider{newFakeProvider(t, leaves(files...))}, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, 0, "")
				w.wantFiles(task, files...)
				if task.Result.Gas != 500 || w.text(task, 1) != "hello\n" {
					t.Errorf("gas %d, stdout %q", task.Result.Gas, w.text(task, 1))
				}
				if _, _, err := w.requester.OpenFile(protocol.TaskID(task.Id), "/out/none"); protocol.CodeOf(err) != protocol.CodeNotFound {
					t.Errorf("of a file that is not there: %v", err)
				}
				if n := w.temporaries(); n != 0 {
					t.Errorf("%d temporary files are left", n)
				}
			})
		})
	}
}

// temporaries counts the files that are being written.
func (w *world) temporaries() int {
	w.t.Helper()
	synctest.Wait()
	list, err := os.ReadDir(filepath.Join(w.home, "tmp"))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(list)
}

func TestFilesOfATaskThatHasNotEndedAreNotThere(t *testing.T) {
	inWorld(t, []*fakeProvider{newFakeProvider(t, hangs)}, func(t *testing.T, w *world) {
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, _, err := w.requester.OpenFile(id, "/out/a"); protocol.CodeOf(err) != protocol.CodeNotFound || !strings.Contains(err.Error(), "has not ended") {
			t.Errorf("OpenFile: %v", err)
		}
		if err := w.requester.Cancel(id); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHostileProvidersLeaveNoFiles(t *testing.T) {
	big := strings.Repeat("x", protocol.MaxOutputChunk)
	for name, say := range map[string]func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome{
		"a file of the host's": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/etc/passwd", "x"})
			return x.left(file{"/etc/passwd", "x"})
		},
		"a file above the directory": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/../a", "x"})
			return x.left(file{"/out/../a", "x"})
		},
		"files out of order": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/b", "x"}, file{"/out/a", "y"})
			return x.left(file{"/out/b", "x"}, file{"/out/a", "y"})
		},
		"a file within another": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"}, file{"/out/a/b", "y"})
			return x.left(file{"/out/a", "x"}, file{"/out/a/b", "y"})
		},
		"too many files": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			var files []file
			for i := range 11 {
				files = append(files, file{fmt.Sprintf("/out/%02d", i), "x"})
			}
			sendFiles(out, files...)
			return x.left(files...)
		},
		"a file that is too large": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			begin(out, "/out/a", 1<<20+1)
			for range 33 {
				write(out, 3, big)
			}
			return x.left()
		},
		"more bytes than announced": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			begin(out, "/out/a", 1)
			write(out, 3, "xy")
			return x.left(file{"/out/a", "xy"})
		},
		"fewer bytes than announced": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			begin(out, "/out/a", 2)
			write(out, 3, "x")
			return x.left(file{"/out/a", "x"})
		},
		"bytes of no file": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			write(out, 3, "x")
			return x.left()
		},
		"a file begun with bytes": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			_ = out.Send(&protocol.OutputChunk{Fd: 3, Data: []byte("x"), File: &protocol.FileHeader{Path: "/out/a", Size: 1}})
			return x.left(file{"/out/a", "x"})
		},
		"other bytes than the digest's": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"})
			return x.left(file{"/out/a", "y"})
		},
		"another name than the digest's": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"})
			return x.left(file{"/out/b", "x"})
		},
		"a file that the digest lacks": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"})
			return x.left()
		},
		"a file that was not sent": func(x *exchangeWithFake, _ *protocol.Conn) *protocol.Outcome {
			return x.left(file{"/out/a", "x"})
		},
		"files of a guest that trapped": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"})
			o := x.left()
			o.Result.ExitSource, o.Result.Code, o.Result.ExitCode = protocol.FromSystem, string(protocol.CodeTrap), protocol.ExitTrap
			sum := protocol.DigestOf([]byte("x"))
			digested(o, []*protocol.File{{Path: "/out/a", Blob: &protocol.Blob{Digest: sum[:], Size: 1}}})
			return o
		},
		"other gas than the digest's": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"})
			o := x.left(file{"/out/a", "x"})
			o.Result.Gas, o.Receipt.Gas = 7, 7
			return o
		},
		"streamed, but said not to be": func(x *exchangeWithFake, out *protocol.Conn) *protocol.Outcome {
			sendFiles(out, file{"/out/a", "x"})
			synctest.Wait()
			o := x.left(file{"/out/a", "x"})
			o.Streamed, o.Stdout = false, []byte("hello\n")
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			liar := newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				out := x.stream()
				write(out, 1, "hello\n")
				o := say(x, out)
				write(out, 0, "")
				x.finish(o)
			})
			good := newFakeProvider(t, leaves(file{"/out/a", "the truth"}))
			liar.speed = 4 // so that it is the first choice
			inWorld(t, []*fakeProvider{liar, good}, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, 0, "")
				w.wantFiles(task, file{"/out/a", "the truth"})
				if got := states(task); got != "failed done" || w.text(task, 1) != "hello\n" {
					t.Errorf("the attempts ended %s: %v; stdout is %q", got, task.Replicas[0].Reason, w.text(task, 1))
				}
				if n := w.temporaries(); n != 0 {
					t.Errorf("%d temporary files are left", n)
				}
			})
		})
	}
}

func TestFilesSurviveAFailover(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 2*protocol.MaxInline/16)
	files := []file{{"/out/a", large}, {"/out/b", "second"}}
	var w *world
	first := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "hello\n")
		sendFiles(out, files[0])
		begin(out, "/out/b", 6)
		write(out, 3, "sec")
		time.Sleep(time.Second)
		w.kill(x.fakeProvider)
		out.Reset()
	})
	inWorld(t, []*fakeProvider{first}, func(t *testing.T, world *world) {
		w = world
		go func() {
			time.Sleep(500 * time.Millisecond)
			w.offer(newFakeProvider(t, leaves(files...)))
		}()
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		w.wantFiles(task, files...)
		if got := states(task); got != "unreachable done" {
			t.Errorf("the attempts ended %s", got)
		}
		if n := w.temporaries(); n != 0 {
			t.Errorf("%d temporary files are left", n)
		}
	})
}

func TestFilesOfTheFirstWholeResultWin(t *testing.T) {
	slow := func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "hello\n")
		sendFiles(out, file{"/out/a", strings.Repeat("z", 2*protocol.MaxInline)})
		<-x.gone
	}
	fast := func(x *exchangeWithFake) {
		time.Sleep(2 * time.Second)
		leaves(file{"/out/a", "fast"})(x)
	}
	inWorld(t, []*fakeProvider{newFakeProvider(t, slow), newFakeProvider(t, fast), newFakeProvider(t, slow)}, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{Replicas: 3})
		check(t, task, protocol.StateDone, 0, "")
		w.wantFiles(task, file{"/out/a", "fast"})
		if n := w.temporaries(); n != 0 {
			t.Errorf("%d temporary files are left", n)
		}
	})
}

func TestProviderThatStopsAmongFilesIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration
		most  time.Duration // that it is given
	}{
		"silent":   {time.Hour, protocol.OutputsSilence},
		"too slow": {20 * time.Second, protocol.OutputsSilence + 32*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bad := newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				out := x.stream()
				begin(out, "/out/a", 32<<20)
				for {
					select {
					case <-time.After(c.every):
						write(out, 3, "x")
					case <-x.gone:
						return
					}
				}
			})
			bad.tells = true
			bad.speed = 4
			// The spare that suspicion starts takes its time.
			spare := newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				time.Sleep(3 * time.Minute)
				leaves(file{"/out/a", "good"})(x)
			})
			spare.tells = true
			inWorld(t, []*fakeProvider{bad, spare}, func(t *testing.T, w *world) {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				defer cancel()
				spec := w.spec()
				spec.Limits.FileBytes = 32 << 20
				spec.Limits.WallMs = 300_000 // of which the spare takes three minutes
				task, err := w.requester.Do(ctx, spec, &protocol.Terms{Where: protocol.WhereRemote}, "prog")
				if err != nil {
					t.Fatal(err)
				}
				check(t, task, protocol.StateDone, 0, "")
				first := task.Replicas[0]
				took := time.Duration(first.EndedUnixMs-task.SubmittedUnixMs) * time.Millisecond
				if states(task) != "failed done" || took < c.most || took > c.most+10*time.Second {
					t.Errorf("%s: it was given up after %s: %s", states(task), took, first.Reason)
				}
				w.wantFiles(task, file{"/out/a", "good"})
			})
		})
	}
}

func TestInputsGoToLeaseholdersOnly(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		large := bytes.Repeat([]byte("large"), protocol.MaxInline/5+1)
		input, small, other := w.put(large), w.put([]byte("small")), w.put([]byte("of another task"))
		var spec *protocol.Spec
		w.offer(newFakeProvider(t, func(x *exchangeWithFake) {
			var err error
			if spec, err = protocol.ParseSpec(x.ask.Spec); err != nil {
				t.Error(err)
			}
			if got, code := x.fetch(input.Sum(), x.ask.Nonce); got != string(large) || code != "" {
				t.Errorf("the input came as %d bytes, %q", len(got), code)
			}
			if _, code := x.fetch(other.Sum(), x.ask.Nonce); code != protocol.CodeRefused {
				t.Errorf("another blob: %q", code)
			}
			if _, code := x.fetch(input.Sum(), make([]byte, 16)); code != protocol.CodeRefused {
				t.Errorf("without a lease: %q", code)
			}
			honest(x)
		}))
		in := w.spec()
		in.Inputs = []*protocol.File{{Path: "/in/a", Blob: input}, {Path: "/in/b", Blob: small}}
		task, err := w.requester.Do(context.Background(), in, &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
		if list := spec.Transfers(); len(list) != 1 || list[0].Sum() != input.Sum() || string(spec.Inputs[1].Blob.Inline) != "small" {
			t.Errorf("the provider is to fetch %d blobs", len(list))
		}
		if len(small.Inline) > 0 {
			t.Error("the caller's spec is changed")
		}
	})
}

func TestInputsThatAreNotThereAreToldAtOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		lacks := protocol.DigestOf([]byte("nowhere"))
		damaged := w.put([]byte("an input"))
		hex := damaged.Sum().String()
		if err := os.WriteFile(filepath.Join(w.home, "blobs", hex[:2], hex), []byte("AN input"), 0o600); err != nil {
			t.Fatal(err)
		}
		shorter := w.put([]byte("another input"))
		shorter.Size--
		for name, c := range map[string]struct {
			blob *protocol.Blob
			code protocol.Code
		}{
			"absent":          {&protocol.Blob{Digest: lacks[:], Size: 7}, protocol.CodeBlob},
			"damaged":         {damaged, protocol.CodeBlob},
			"of another size": {shorter, protocol.CodeBadRequest},
		} {
			spec := w.spec()
			spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: c.blob}}
			_, err := w.requester.Submit(context.Background(), spec, &protocol.Terms{}, "prog")
			if protocol.CodeOf(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		if w.store.Blobs().Has(damaged.Sum()) {
			t.Error("the damaged input is kept, so that it cannot be uploaded again")
		}
	})
}

func TestInputsOfAnOpenTaskAreNotEvicted(t *testing.T) {
	inWorld(t, []*fakeProvider{newFakeProvider(t, hangs)}, func(t *testing.T, w *world) {
		random := func() []byte {
			b := make([]byte, 1<<20)
			_, _ = rand.Read(b) // never fails
			return b
		}
		input := w.put(random())
		spec := w.spec()
		spec.Limits.FileBytes = 2 << 20
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: input}}
		id, err := w.requester.Submit(context.Background(), spec, &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.store.Run(ctx) }()
		fill := func() {
			for range 20 { // the store keeps 16 MiB
				w.put(random())
				time.Sleep(time.Second)
			}
		}
		fill()
		if !w.store.Blobs().Has(input.Sum()) {
			t.Error("the input was evicted while its task was open")
		}
		if err := w.requester.Cancel(id); err != nil {
			t.Fatal(err)
		}
		fill()
		if w.store.Blobs().Has(input.Sum()) {
			t.Error("the input is pinned after its task has ended")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestNothingIsAddedToASealedOutput(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		made, err := w.requester.newTask(protocol.NewTaskID(), w.spec(), &protocol.Terms{}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.requester.open(made); err != nil {
			t.Fatal(err)
		}
		defer w.requester.wg.Done()
		defer made.close()
		accepted, other := &attempt{t: made, ctx: t.Context()}, &attempt{t: made, ctx: t.Context()}
		accepted.restart()
		other.restart()
		if err := made.write(accepted.in.Load(), 1, []byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		result := &protocol.Result{Stdout: protocol.NewBlob([]byte("hell"))}
		if made.seal(result) {
			t.Error("sealed although more is shown than the result has")
		}
		result.Stdout = protocol.NewBlob([]byte("hello\n"))
		if !made.seal(result) {
			t.Error("not sealed")
		}
		if err := made.write(other.in.Load(), 1, []byte("hello\nand more")); err == nil {
			t.Error("another attempt adds to an accepted result")
		}
	})
}

func TestLimitsAreToldWithWhatMendsThem(t *testing.T) {
	for code, want := range map[protocol.Code]string{
		protocol.CodeGasLimit:    "--gas",
		protocol.CodeDepthLimit:  "recursion",
		protocol.CodeTimeout:     "--timeout",
		protocol.CodeOutputLimit: "--output-limit",
		protocol.CodeMemoryLimit: "--mem",
		protocol.CodeTrap:        "",
	} {
		t.Run(string(code), func(t *testing.T) {
			inWorld(t, []*fakeProvider{newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				o := x.outcome(int32(code.ExitStatus()), "hello\n")
				o.Result.ExitSource, o.Result.Code = protocol.FromSystem, string(code)
				digested(o, nil)
				x.finish(o)
			})}, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, int32(code.ExitStatus()), code)
				if got := task.Result.Hint; !strings.Contains(got, want) || (got == "") != (want == "") {
					t.Errorf("the hint is %q", got)
				}
			})
		})
	}
}
