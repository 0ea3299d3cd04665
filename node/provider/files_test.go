package provider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// named is a blob that its requester gives when it is asked for.
func (s *scene) named(b []byte) *protocol.Blob {
	d := protocol.DigestOf(b)
	s.gives(d, b)
	return &protocol.Blob{Digest: d[:], Size: uint64(len(b))}
}

// reads is a guest that prints all the data it is fed.
func reads(ctx context.Context, x Execution) (Outcome, error) {
	if x.Data == nil {
		return Outcome{Stdout: []byte("no data")}, nil
	}
	b, err := io.ReadAll(x.Data)
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Stdout: b}, nil
}

func TestInputsAreFetchedAndFedInOrder(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		spec := s.spec()
		first, second := s.named([]byte("first ")), s.named([]byte("second "))
		spec.Inputs = []*protocol.File{
			{Path: "/in/a", Blob: first},
			{Path: "/in/b", Blob: protocol.NewBlob([]byte("inline"))},
			{Path: "/in/c", Blob: second},
			{Path: "/in/d", Blob: first},
		}
		spec.Stdin = s.named([]byte("stdin"))
		s.ask(1, spec)
		if o := s.outcome(); o.Code != "" || string(o.Stdout) != "first second first stdin" {
			t.Errorf("outcome: %s %s, stdout %q", o.Code, o.Message, o.Stdout)
		}
		if len(s.given) != 4 { // with the module
			t.Errorf("%d blobs were asked for", len(s.given))
		}
		s.ask(2, spec)
		if o := s.outcome(); o.Code != "" || len(s.given) != 4 {
			t.Errorf("the second time: %s, %d blobs were asked for", o.Code, len(s.given))
		}
		s.ask(3, s.spec())
		if o := s.outcome(); string(o.Stdout) != "no data" {
			t.Errorf("without transfers: %q", o.Stdout)
		}
	})
}

func TestLargeBlobsComeFromPeersOrElseFromTheRequester(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		spec := s.spec()
		carried, alone := s.named(make([]byte, protocol.MinTree)), s.named(bytes.Repeat([]byte{1}, protocol.MinTree))
		s.swarm[carried.Sum()] = false
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: carried}, {Path: "/in/b", Blob: alone}}
		spec.Limits.FileBytes = 4 * protocol.MinTree
		s.ask(1, spec)
		if o := s.outcome(); o.Code != "" {
			t.Fatalf("outcome: %s %s", o.Code, o.Message)
		}
		synctest.Wait()
		if len(s.given) != 2 || slices.Contains(s.given, carried.Sum()) || !slices.Contains(s.given, alone.Sum()) {
			t.Errorf("%d blobs were asked for", len(s.given))
		}
		for d, module := range map[protocol.Digest]bool{spec.Module.Sum(): true, carried.Sum(): false, alone.Sum(): false} {
			if as, ok := s.known[d]; !ok || as != module {
				t.Errorf("%s is known: %v, as a module: %v", d, ok, as)
			}
		}
	})
}

func TestManyInputsComeAFewAtATime(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		spec := s.spec()
		var want bytes.Buffer
		spec.Limits.Files = 100
		for i := range 100 {
			b := bytes.Repeat([]byte{byte(i)}, 1000+i)
			want.Write(b)
			spec.Inputs = append(spec.Inputs, &protocol.File{Path: "/in/" + string(rune('\u0100'+i)), Blob: s.named(b)})
		}
		s.ask(1, spec)
		o := s.outcome()
		synctest.Wait()
		if sum := protocol.DigestOf(want.Bytes()); o.Code != "" || o.Result.Stdout.Sum() != sum {
			t.Errorf("outcome: %s %s", o.Code, o.Message)
		}
		if s.mostGiving != transfersEach {
			t.Errorf("%d transfers at once", s.mostGiving)
		}
	})
}

func TestInputThatDoesNotComeFailsTheReplica(t *testing.T) {
	ran := false
	inScene(t, &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) { ran = true; return reads(ctx, x) }}, func(t *testing.T, s *scene) {
		spec := s.spec()
		there, absent := s.named([]byte("there")), s.named([]byte("absent"))
		s.gives(absent.Sum(), nil)
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: there}, {Path: "/in/b", Blob: absent}}
		s.ask(1, spec)
		if o := s.outcome(); o.Code != string(protocol.CodeBlob) || ran {
			t.Errorf("outcome: %v; it ran: %v", o, ran)
		}
	})
}

func TestDamagedInputIsFetchedAnew(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		spec := s.spec()
		input := s.named([]byte("an input"))
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: input}}
		s.ask(1, spec)
		if o := s.outcome(); o.Code != "" {
			t.Fatalf("outcome: %v", o)
		}
		hex := input.Sum().String()
		file := filepath.Join(s.home, "blobs", hex[:2], hex)
		if err := os.WriteFile(file, []byte("AN input"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.ask(2, spec)
		if o := s.outcome(); o.Code != string(protocol.CodeBlob) {
			t.Errorf("of a damaged input: %v", o)
		}
		if !s.store.Blobs().Has(protocol.DigestOf(s.module)) {
			t.Error("the module is dropped for it")
		}
		s.ask(3, spec)
		if o := s.outcome(); o.Code != "" || string(o.Stdout) != "an input" {
			t.Errorf("of the next: %v", o)
		}
	})
}

// A digest is no secret: whoever names a blob of others must have it, too.
func TestBlobsOfOthersAreNotFed(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		secret := []byte("the owner's secret")
		if _, _, err := s.store.Blobs().Put(bytes.NewReader(secret), 100); err != nil {
			t.Fatal(err)
		}
		spec := s.spec()
		blob := &protocol.Blob{Digest: protocol.NewBlob(secret).Digest, Size: uint64(len(secret))}
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: blob}}
		s.ask(1, spec)
		if o := s.outcome(); o.Code != string(protocol.CodeBlob) || len(o.Stdout) > 0 {
			t.Errorf("of who only knows the digest: %v", o)
		}
		s.gives(blob.Sum(), []byte("the owner's secreT"))
		s.ask(2, spec)
		if o := s.outcome(); o.Code != string(protocol.CodeBlob) || len(o.Stdout) > 0 {
			t.Errorf("of who has something like it: %v", o)
		}
		s.named(secret)
		s.ask(3, spec)
		if o := s.outcome(); string(o.Stdout) != string(secret) {
			t.Errorf("of who has it: %v", o)
		}
		asked := len(s.given)
		s.ask(4, spec)
		if o := s.outcome(); string(o.Stdout) != string(secret) || len(s.given) != asked {
			t.Errorf("of who has proved it: %v", o)
		}
	})
}

// A task that lies about the size of a blob must not have it dropped.
func TestBlobOfAnotherSizeIsKept(t *testing.T) {
	inScene(t, &fakeRunner{run: func(_ context.Context, x Execution) (Outcome, error) {
		f, err := x.Module()
		if err != nil {
			return Outcome{}, err
		}
		return Outcome{}, f.Close()
	}}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		s.outcome()
		spec := s.spec()
		spec.Module.Size--
		s.ask(2, spec)
		if o := s.outcome(); o.Code != string(protocol.CodeBadRequest) || !s.store.Blobs().Has(spec.Module.Sum()) {
			t.Errorf("outcome: %v, still here: %v", o, s.store.Blobs().Has(spec.Module.Sum()))
		}
	})
}

func TestInputOfAnotherSizeIsNotFed(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		spec := s.spec()
		input := s.named([]byte("an input"))
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: input}}
		s.ask(1, spec)
		s.outcome()
		input.Size--
		s.ask(2, spec)
		if o := s.outcome(); o.Code != string(protocol.CodeBadRequest) || !strings.Contains(o.Message, "8 bytes, not 7") {
			t.Errorf("outcome: %v", o)
		}
	})
}

func TestOutputFilesFollowTheOutput(t *testing.T) {
	big := strings.Repeat("x", protocol.MaxOutputChunk+1)
	inScene(t, &fakeRunner{run: func(_ context.Context, x Execution) (Outcome, error) {
		x.File("/out/a", 5)
		x.Output(3, []byte("he"))
		x.Output(3, []byte("llo"))
		x.File("/out/b", 0)
		x.File("/out/d/c", uint64(len(big)))
		x.Output(3, []byte(big))
		return Outcome{ExitCode: 2, Stdout: []byte("left"), Gas: 9}, nil
	}}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		o := s.outcome()
		synctest.Wait()
		if o.Code != "" || !o.Streamed || s.outputs[0].String() != "left" || len(o.Result.GetFiles()) > 0 {
			t.Errorf("outcome: %v, stdout %q", o, s.outputs[0].String())
		}
		if want := []string{"/out/a 5 hello", "/out/b 0 ", "/out/d/c 32769 " + big}; !slices.Equal(s.files, want) {
			t.Errorf("files: %.100q", s.files)
		}
		result := o.Result
		for i, text := range []string{"hello", "", big} {
			sum := protocol.DigestOf([]byte(text))
			result.Files = append(result.Files, &protocol.File{
				Path: []string{"/out/a", "/out/b", "/out/d/c"}[i], Blob: &protocol.Blob{Digest: sum[:], Size: uint64(len(text))},
			})
		}
		if want := protocol.ResultDigest(result, protocol.Profile); protocol.Digest(result.Digest) != want || o.Receipt.Gas != 9 {
			t.Error("the digest or the receipt does not cover files and gas")
		}
	})
}

var trapped = Outcome{ExitCode: protocol.ExitTrap, Source: protocol.FromSystem, Code: protocol.CodeTrap}

func TestHostileWorkersAreNotBelieved(t *testing.T) {
	for name, say := range map[string]func(x Execution) Outcome{
		"a file of the host's":          func(x Execution) Outcome { x.File("/etc/passwd", 0); return Outcome{} },
		"a file above the directory":    func(x Execution) Outcome { x.File("/out/../a", 0); return Outcome{} },
		"files out of order":            func(x Execution) Outcome { x.File("/out/b", 0); x.File("/out/a", 0); return Outcome{} },
		"more bytes than the limit":     func(x Execution) Outcome { x.File("/out/a", 1<<20+1); return Outcome{} },
		"bytes without a file":          func(x Execution) Outcome { x.Output(3, []byte("x")); return Outcome{} },
		"fewer bytes than said":         func(x Execution) Outcome { x.File("/out/a", 2); x.Output(3, []byte("x")); return Outcome{} },
		"more bytes than said":          func(x Execution) Outcome { x.File("/out/a", 1); x.Output(3, []byte("xy")); return Outcome{} },
		"files of a guest that trapped": func(x Execution) Outcome { x.File("/out/a", 0); return trapped },
		"bytes for nothing known":       func(x Execution) Outcome { x.Output(4, []byte("x")); return Outcome{} },
		"more files than the limit": func(x Execution) Outcome {
			for i := range 11 {
				x.File("/out/"+string(rune('a'+i)), 0)
			}
			return Outcome{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, &fakeRunner{run: func(_ context.Context, x Execution) (Outcome, error) { return say(x), nil }}, func(t *testing.T, s *scene) {
				s.ask(1, s.spec())
				if o := s.outcome(); o.Code != string(protocol.CodeWorker) || !strings.Contains(o.Message, "cannot be believed") {
					t.Errorf("outcome: %v", o)
				}
				s.runner.run = echo
				s.ask(2, s.spec()) // the provider is as good as before
				if o := s.outcome(); o.Code != "" {
					t.Errorf("outcome of the next: %v", o)
				}
			})
		})
	}
}

func TestWorkerThatLiesWithoutEndIsStopped(t *testing.T) {
	var stopped error
	inScene(t, &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) {
		x.File("/out/a", 1)
		for ctx.Err() == nil {
			x.Output(3, []byte("more"))
		}
		stopped = context.Cause(ctx)
		return Outcome{}, stopped
	}}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		if o := s.outcome(); o.Code != string(protocol.CodeWorker) || protocol.CodeOf(stopped) != protocol.CodeWorker {
			t.Errorf("outcome: %v; stopped by %v", o, stopped)
		}
	})
}

func TestFilesThatTakeTooLongEndTheReplica(t *testing.T) {
	for name, c := range map[string]struct {
		send func(ctx context.Context, x Execution)
		most time.Duration
	}{
		"the worker stalls": {func(ctx context.Context, _ Execution) { <-ctx.Done() }, protocol.OutputsSilence},
		"the worker trickles": {func(ctx context.Context, x Execution) {
			for ctx.Err() == nil {
				time.Sleep(time.Second)
				x.Output(3, []byte("x"))
			}
		}, protocol.OutputsSilence + 32*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) {
				x.File("/out/a", 32<<20)
				c.send(ctx, x)
				return Outcome{}, context.Cause(ctx)
			}}, func(t *testing.T, s *scene) {
				start := time.Now()
				spec := s.spec()
				spec.Limits.FileBytes = 32 << 20
				s.ask(1, spec)
				if o := s.outcome(); !strings.Contains(o.Message, errSlowFiles.Error()) {
					t.Errorf("outcome: %v", o)
				}
				if took := time.Since(start); took < c.most || took > c.most+8*time.Second {
					t.Errorf("it was stopped after %s", took)
				}
			})
		})
	}
}

func TestTimeOfSendingFilesIsNotTheGuests(t *testing.T) {
	wall := func(s *scene) (wall time.Duration) {
		synctest.Wait()
		for _, p := range s.provider.progressOf(s.requester) {
			wall = time.Duration(p.WallUs) * time.Microsecond
		}
		return wall
	}
	inScene(t, &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) {
		x.State(protocol.StateRunning)
		time.Sleep(800 * time.Millisecond)
		x.File("/out/a", 0)
		<-ctx.Done()
		return Outcome{}, context.Cause(ctx)
	}}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		if s.next().GetLease() == nil {
			t.Fatal("no lease")
		}
		time.Sleep(500 * time.Millisecond)
		if w := wall(s); w < 400*time.Millisecond || w > 500*time.Millisecond {
			t.Errorf("while the guest runs: %s", w)
		}
		time.Sleep(20 * time.Second)
		if w := wall(s); w != 800*time.Millisecond {
			t.Errorf("while its files are sent: %s", w)
		}
		s.tasks.Reset()
	})
}

func TestRequesterThatVanishesAmongFilesStopsTheReplica(t *testing.T) {
	var stopped error
	inScene(t, &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) {
		x.File("/out/a", 1<<20)
		for range 32 {
			x.Output(3, make([]byte, 32<<10))
			time.Sleep(time.Second)
		}
		stopped = context.Cause(ctx)
		return Outcome{}, nil
	}}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		time.Sleep(3500 * time.Millisecond)
		s.tasks.Reset()
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(stopped, errGone) {
			t.Errorf("stopped by %v", stopped)
		}
	})
}

func TestBlobThatAnotherBringsMeanwhileMustBeProved(t *testing.T) {
	inScene(t, &fakeRunner{run: reads}, func(t *testing.T, s *scene) {
		secret := []byte("the owner's secret")
		spec := s.spec()
		blob := &protocol.Blob{Digest: protocol.NewBlob(secret).Digest, Size: uint64(len(secret))}
		spec.Inputs = []*protocol.File{{Path: "/in/a", Blob: blob}}
		s.gives(blob.Sum(), []byte("I do not have it.."))
		s.ask(1, spec)
		for asked := false; !asked; { // for the bytes, whose header takes a while
			time.Sleep(100 * time.Microsecond)
			s.mu.Lock()
			asked = slices.Contains(s.given, blob.Sum())
			s.mu.Unlock()
		}
		if _, _, err := s.store.Blobs().Put(bytes.NewReader(secret), 100); err != nil {
			t.Fatal(err)
		}
		if o := s.outcome(); o.Code != string(protocol.CodeBlob) || len(o.Stdout) > 0 {
			t.Errorf("who knows the digest alone has %v", o)
		}
	})
}
