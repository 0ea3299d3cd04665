package wasi

import (
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"
)

// subscription is one of a poll: of a clock when fd is negative.
type subscription struct {
	tag      byte
	fd       int
	clock    uint32
	at       uint64
	absolute bool
}

type event struct {
	user  uint64
	errno Errno
	tag   byte
	bytes uint64
}

// poll calls poll_oneoff with subscriptions whose user data is their place.
func (g *guest) poll(list ...subscription) []event {
	g.Helper()
	for i, s := range list {
		b := g.m[buffer+subscriptionSize*i:][:subscriptionSize]
		clear(b)
		b[0], b[8] = byte(i), s.tag
		if s.tag == tagClock {
			binary.LittleEndian.PutUint32(b[16:], s.clock)
			binary.LittleEndian.PutUint64(b[24:], s.at)
			if s.absolute {
				b[40] = flagAbsolute
			}
		} else {
			binary.LittleEndian.PutUint32(b[16:], uint32(s.fd))
		}
	}
	out := uint32(buffer + subscriptionSize*len(list))
	g.ok("poll_oneoff", buffer, out, len(list), result)
	var events []event
	for i := range g.u32(result) {
		b := g.m[out+eventSize*i:]
		events = append(events, event{
			binary.LittleEndian.Uint64(b), Errno(binary.LittleEndian.Uint16(b[8:])), b[10], binary.LittleEndian.Uint64(b[16:]),
		})
	}
	return events
}

func TestPoll(t *testing.T) {
	const start = 1_000_000_000_000
	for _, c := range []struct {
		name  string
		list  []subscription
		want  []event
		sleep int64 // -1: less than the gas used
	}{
		{name: "a relative sleep", list: []subscription{{at: 5e9}}, want: []event{{}}, sleep: 5e9},
		{name: "the shorter of two sleeps", list: []subscription{{at: 5e9}, {at: 3e9, clock: 1}}, want: []event{{user: 1}}, sleep: 3e9},
		{name: "two that end together", list: []subscription{{at: 5e9}, {at: 9e9}, {at: 5e9}}, want: []event{{}, {user: 2}}, sleep: 5e9},
		{name: "until an hour of the wall clock", list: []subscription{{at: start + 7e9, absolute: true}}, want: []event{{}}, sleep: 7e9},
		{name: "until a time that is past", list: []subscription{{at: start - 1, absolute: true}}, want: []event{{}}},
		{name: "until a time of the monotonic clock", list: []subscription{{clock: 1, at: 4e9, absolute: true}}, want: []event{{}}, sleep: 4e9},
		{name: "no sleep", list: []subscription{{}}, want: []event{{}}},
		{name: "until the end of time", list: []subscription{{at: math.MaxUint64}}, want: []event{{}}, sleep: math.MaxInt64},
		{
			name: "a stream is ready before a timeout", want: []event{{user: 1, tag: tagFDRead, bytes: 1}, {user: 2, tag: tagFDWrite}},
			list: []subscription{{at: 1}, {tag: tagFDRead, fd: 0}, {tag: tagFDWrite, fd: 1}},
		},
		{
			name: "a timeout of nothing comes with it", want: []event{{}, {user: 1, tag: tagFDWrite}},
			list: []subscription{{}, {tag: tagFDWrite, fd: 2}},
		},
		{
			name: "a descriptor that is not open", want: []event{{errno: EBADF, tag: tagFDRead}},
			list: []subscription{{tag: tagFDRead, fd: 77}},
		},
		{
			name: "a file tells what it has left", want: []event{{tag: tagFDRead, bytes: 3}, {user: 1, tag: tagFDRead}},
			list: []subscription{{tag: tagFDRead, fd: 4}, {tag: tagFDRead, fd: 3}},
		},
	} {
		g := newGuest(t, Config{Clock: start, Inputs: []Input{{"/in/five", []byte("12345")}}})
		fd := g.open("in/five", 0, reading, 0)
		g.read(fd, 2)
		got := g.poll(c.list...)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		// An absolute sleep counts from when it is asked for, after some gas.
		if d := c.sleep - g.w.slept; d < 0 || d > plenty-int64(g.gas) {
			t.Errorf("%s: slept %d ns, want %d", c.name, g.w.slept, c.sleep)
		}
	}
}

func TestPollRefuses(t *testing.T) {
	g := newGuest(t, Config{Clock: -5e9})
	ask := func(want Errno, change func(b []byte)) {
		t.Helper()
		b := g.m[buffer:][:subscriptionSize]
		clear(b)
		change(b)
		g.fails(want, "poll_oneoff", buffer, buffer, 1, result)
	}
	ask(EINVAL, func(b []byte) { b[8] = 3 })
	ask(EINVAL, func(b []byte) { b[16] = clockProcess })
	ask(EINVAL, func(b []byte) { b[16] = 9 })
	ask(EINVAL, func(b []byte) { b[40] = 2 })
	g.fails(EINVAL, "poll_oneoff", buffer, buffer, 0, result)
	g.fails(EINVAL, "poll_oneoff", buffer, buffer, maxSubscriptions+1, result)
	g.fails(EINVAL, "poll_oneoff", buffer, buffer, 1<<28, result) // 48 times as much overflows
	g.fails(EFAULT, "poll_oneoff", beyond-1, buffer, 1, result)
	clear(g.m)
	g.fails(EFAULT, "poll_oneoff", buffer, beyond-eventSize+1, 1, result)
	g.fails(EFAULT, "poll_oneoff", buffer, buffer, 1, beyond-3)
	if g.w.slept != 0 {
		t.Errorf("calls that failed slept %d ns", g.w.slept)
	}
	g.poll(subscription{at: 1e9, absolute: true}) // from before 1970
	if now := g.w.now(); now < 1e9 || now > 1e9+int64(plenty)-int64(g.gas) {
		t.Errorf("after waiting for 1e9 ns it is %d", now)
	}
	// Events over subscriptions: the answer does not depend on it.
	for i := range uint32(3) {
		g.put32(buffer+subscriptionSize*i, 100+i)
		g.m[buffer+subscriptionSize*i+8] = tagFDWrite
		g.put32(buffer+subscriptionSize*i+16, 1)
	}
	g.ok("poll_oneoff", buffer, buffer, 3, result)
	for i := range uint32(3) {
		if user := g.u32(buffer + eventSize*i); user != 100+i {
			t.Errorf("event %d is about %d", i, user)
		}
	}
}

func TestReset(t *testing.T) {
	g := newGuest(t, Config{Args: []string{"first"}, Stdin: strings.NewReader("x")})
	g.make("out/a", "left by the first")
	g.poll(subscription{at: 1e9})
	g.ok("fd_close", 0)
	g.w.Reset(Config{GasLimit: plenty, Files: 10, FileBytes: 10})
	g.gas = plenty
	g.w.Start(&g.gas)
	if n := len(g.w.Outputs()); n != 0 {
		t.Errorf("the second has %d outputs", n)
	}
	if got := g.names("out"); len(got) != 0 {
		t.Errorf("the second finds %q", got)
	}
	if got := g.read(0, 9); got != "" {
		t.Errorf("the second reads %q", got)
	}
	if g.w.slept != 0 {
		t.Errorf("the second has slept %d ns", g.w.slept)
	}
	g.write(1, "goes nowhere")
	g.ok("args_sizes_get", result, result+4)
	if g.u32(result) != 0 {
		t.Errorf("the second has %d arguments", g.u32(result))
	}
}
