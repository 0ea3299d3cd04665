package sandbox

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// A worker that was broken out of must not keep its node busy with replies that
// say little.
func TestRepliesThatSayLittle(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply *protocol.WorkerReply
		after time.Duration // since the task was sent
		most  int           // replies taken
	}{
		{"nothing", &protocol.WorkerReply{}, time.Hour, 0},
		{"a byte", &protocol.WorkerReply{Stdout: []byte("x")}, 0, 10},
		{"a byte, after a while", &protocol.WorkerReply{Stderr: []byte("x")}, time.Second, 250},
		{"gas", &protocol.WorkerReply{Gas: 1}, 0, 10},
		{"a byte of a file", &protocol.WorkerReply{FileData: []byte("x")}, 0, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := execution(t, "a", copier(), nil)
			sent := time.Now()
			call := &call{x: &x, sent: sent}
			if len(c.reply.FileData) > 0 {
				if err := call.bound(&protocol.WorkerReply{File: &protocol.FileHeader{Path: "/out/a", Size: 1 << 10}}, sent); err != nil {
					t.Fatal(err)
				}
			}
			taken := 0
			for taken <= c.most && call.bound(c.reply, sent.Add(c.after)) == nil {
				taken++
			}
			if taken > c.most {
				t.Errorf("more than %d were taken", c.most)
			}
		})
	}
}

// However a guest writes, its worker's replies are not too many.
func TestRepliesOfHonestWorkers(t *testing.T) {
	full := make([]byte, protocol.MaxInline)
	for _, c := range []struct {
		name           string
		stdout, stderr []byte // written by turns
		every          time.Duration
	}{
		{"all at once", full, full, 0},
		{"to both streams, of one very little", full[:1], full[1:], 0},
		{"little by little", full[:1], full[:1], flushTick / 10},
		{"a little at each tick", full[:1], full[:1], flushTick},
		{"a little at every other tick", full[:1], full[:1], 2 * flushTick},
		{"never", nil, nil, flushTick},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := execution(t, "a", copier(), func(s *protocol.Spec) { s.Limits.OutputBytes = protocol.MaxOutput })
			synctest.Test(t, func(t *testing.T) {
				var pipe bytes.Buffer
				o := newOutput(&pipe)
				o.left = func() (int64, bool) { return 1, true }
				stop := make(chan struct{})
				defer close(stop)
				go o.keepFlushing(stop)
				call := &call{x: &x, sent: time.Now()}
				o.begin(1, x.Spec.Limits)
				in := newFrameReader(&pipe)
				take := func() {
					o.mu.Lock()
					defer o.mu.Unlock()
					for r := new(protocol.WorkerReply); in.next(r) == nil; r = new(protocol.WorkerReply) {
						if err := call.bound(r, time.Now()); err != nil {
							t.Fatalf("after %v: %v", time.Since(call.sent), err)
						}
					}
				}
				for range 500 {
					o.write(1, c.stdout)
					o.write(2, c.stderr)
					time.Sleep(c.every)
					take()
				}
				for i := range x.Spec.Limits.Files {
					if err := o.file("/out/a", uint64(i%2), bytes.NewReader(full)); err != nil {
						t.Fatal(err)
					}
				}
				o.end(new(protocol.WorkerReply), false)
				take()
			})
		})
	}
}
