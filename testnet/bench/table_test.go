package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// taking is a load whose requests took so many milliseconds each, one after
// the other.
func taking(list ...int) figures {
	var f figures
	for _, ms := range list {
		d := time.Duration(ms) * time.Millisecond
		f.took = append(f.took, d)
		f.wall += d
	}
	slices.Sort(f.took)
	return f
}

func TestTable(t *testing.T) {
	b := &bench{options: options{rounds: 3, lasts: time.Second}, cases: []*comparison{{
		name: "slow", inFlight: 1, targets: targets{p50: atMost("P1", 1.3), rate: atLeast("P2", 0.4)},
		// The ratios of the medians are 2; the median of the ratios is 1.5.
		rounds: []round{{taking(10), taking(15)}, {taking(20), taking(80)}, {taking(40), taking(40)}},
	}, {
		name: "fast", inFlight: 64, targets: targets{p50: within("P3", 20*time.Millisecond), rate: atLeast("P2", 1.5)},
		rounds: []round{{taking(40, 10, 20), taking(10, 20, 10)}, {taking(40, 20, 10), taking(10, 20, 10)}},
	}}}
	var out strings.Builder
	if err := b.print(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var got [][]string
	for _, l := range lines[len(lines)-6:] {
		got = append(got, strings.Fields(l))
	}
	for i, want := range []string{
		"slow 1 p50 20 ms 40 ms 1.50x 1.00x 4.00x P1 <= 1.3x, MISSED",
		"slow 1 p99 20 ms 40 ms 1.50x 1.00x 4.00x",
		"slow 1 rate 50/s 25/s 0.67x 0.25x 1.00x P2 >= 0.4x, met",
		"fast 64 p50 20 ms 10 ms 0.50x 0.50x 0.50x P3 <= 20ms, met",
		"fast 64 p99 20 ms 10 ms 0.50x 0.50x 0.50x",
		"fast 64 rate 43/s 75/s 1.75x 1.75x 1.75x P2 >= 1.5x, met",
	} {
		if line := strings.Join(got[i], " "); line != want {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var f figures
	for i := range 1000 {
		f.took = append(f.took, time.Duration(i+1)*time.Millisecond)
	}
	if p50, p99 := f.quantile(.5), f.quantile(.99); p50 != .5 || p99 != .99 {
		t.Errorf("p50 %v, p99 %v", p50, p99)
	}
}

func TestLoadStopsAtTheFirstFailure(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		do   echo
		want error
	}{
		{"an error", func(context.Context, []byte) ([]byte, error) { return nil, broken }, broken},
		{"a reply to another request", func(_ context.Context, b []byte) ([]byte, error) { return b[1:], nil }, errWrongReply},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := new(messages).load(t.Context(), 4, time.Hour, c.do); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMessagesDiffer(t *testing.T) {
	var m messages
	seen := make(map[string]bool)
	for range 1000 {
		b := m.next()
		if len(b) != messageSize || seen[string(b)] {
			t.Fatalf("%d bytes, seen before: %v", len(b), seen[string(b)])
		}
		seen[string(b)] = true
	}
}
