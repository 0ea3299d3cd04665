package requester

import (
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Beats that do not come, since the provider or this node is short of CPU, say
// nothing: whether the provider is silent is another question.
func TestOnlyBeatsTellThatAnAttemptIsForgotten(t *testing.T) {
	start := time.Now()
	for name, c := range map[string]struct {
		beats int // that leave it out
		over  time.Duration
		want  bool
	}{
		"none come":                 {0, time.Minute, false},
		"few come":                  {int(forgottenBeats) - 1, time.Minute, false},
		"many come, late, at once":  {100, forgottenAfter, false},
		"they leave it out":         {int(forgottenAfter/protocol.BeatEvery) + 1, forgottenAfter + protocol.BeatEvery, true},
		"they do on a busy machine": {int(forgottenBeats), 2 * forgottenAfter, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := new(attempt)
			a.in.Store(new(intake))
			a.named.Store(&start)
			p := &pair{ids: map[*attempt]uint64{a: 1}}
			for range c.beats {
				p.progress(start.Add(c.over), new(protocol.Beat))
			}
			if got := a.forgotten(start.Add(c.over)); got != c.want {
				t.Errorf("after %d beats in %v: %v, want %v", c.beats, c.over, got, c.want)
			}
		})
	}
}
