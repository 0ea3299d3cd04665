package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

const (
	// quiet is how long nothing may be shown before people wonder.
	quiet = time.Second
	// tellEvery is how soon a task's waiting is told again, at first: each time after
	// twice as long, up to tellRarely.
	tellEvery  = 30 * time.Second
	tellRarely = 10 * time.Minute
)

// news tells people why nothing seems to happen. That the program is on its
// way is only told at a terminal; that the task waits, or is made again since an
// attempt has failed, always. A provider that vanishes goes unnoticed.
type news struct {
	w     io.Writer
	timer *time.Timer // nil when w is no terminal

	mu     sync.Mutex
	late   bool      // it has been quiet for too long
	over   bool      // the program has shown something, or has ended
	line   string    // what goes on, when it is worth telling
	next   time.Time // when to tell that the task waits
	pause  time.Duration
	failed uint32 // the last attempt whose failure was told
}

// newNews returns news for w, which the caller stops.
func newNews(w io.Writer, terminal bool) *news {
	n := &news{w: w}
	if terminal {
		n.timer = time.AfterFunc(quiet, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.late = true
			n.tell()
		})
	}
	return n
}

// stop makes n say no more.
func (n *news) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	if n.timer != nil {
		n.timer.Stop()
	}
}

// note learns from an event of the task, before its output is shown.
func (n *news) note(e api.Event, now time.Time) {
	if len(e.Stdout) > 0 || len(e.Stderr) > 0 {
		n.stop()
	}
	if e.Task == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if waits(e.Task) && !now.Before(n.next) {
		n.pause = min(max(tellEvery, 2*n.pause), tellRarely)
		n.next = now.Add(n.pause)
		fmt.Fprintf(n.w, "spare: task %s is %s\n", e.Task.ID, protocol.SafeText(e.Task.Reason))
	}
	for i, a := range e.Task.Attempts {
		if a.State == protocol.StateFailed.Word() && a.Attempt > n.failed && i+1 < len(e.Task.Attempts) {
			n.failed = a.Attempt
			fmt.Fprintf(n.w, "spare: attempt %d failed on %s, another is made: %s\n", a.Attempt, shortPeer(a.Provider), protocol.SafeText(a.Reason))
		}
	}
	if line := preparation(e.Task); line != n.line {
		n.line = line
		n.tell()
	}
}

// tell says what goes on when it is time to. The caller holds n.mu: the lines
// are few, and must not come after the program's.
func (n *news) tell() {
	if n.late && !n.over && n.line != "" {
		fmt.Fprintf(n.w, "spare: %s\n", n.line)
	}
}

func waits(t *api.Task) bool {
	return t.State == protocol.StateQueued.Word() && strings.HasPrefix(t.Reason, "waiting")
}

// preparation says what is done before the program runs.
func preparation(t *api.Task) string {
	for _, a := range t.Attempts {
		switch {
		case a.State != t.State:
		case a.State == protocol.StateFetching.Word():
			return fmt.Sprintf("sending the program to %s for the first time", shortPeer(a.Provider))
		case a.State == protocol.StateCompiling.Word():
			return fmt.Sprintf("compiling the program on %s", shortPeer(a.Provider))
		}
	}
	return ""
}

// isTerminal reports whether a person may sit at f. It takes other character
// devices for terminals too, where nobody minds a line.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // which is such a device, and nobody looks at it
	return err != nil || !os.SameFile(info, null)
}
