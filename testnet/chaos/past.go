//go:build unix

package main

import (
	"slices"
	"time"

	"github.com/spare-network/spare/node/api"
)

// fault is one that has happened.
type fault struct {
	what      kind
	peers     []string // who the nodes were
	at, until time.Time
}

// past is what has stalled each peer.
type past map[string][]*fault

func newPast(faults []*fault) past {
	p := make(past)
	for _, f := range faults {
		for _, peer := range f.peers {
			if f.what.stalls() {
				p[peer] = append(p[peer], f)
			}
		}
	}
	return p
}

// span is when an attempt ran, at most to its task's end.
func span(t *api.Task, a api.Attempt) (start, end time.Time) {
	if a.Started == nil || t.Ended == nil {
		return start, start
	}
	start, end = time.Time(*a.Started), time.Time(*t.Ended)
	if a.Ended != nil && time.Time(*a.Ended).Before(end) {
		end = time.Time(*a.Ended)
	}
	return start, end
}

// goesOn reports whether an attempt was under way at a moment, whatever its
// requester knew of it: it had begun and not ended, no fault that its provider
// suffered stalled it, and none had killed it.
func (p past) goesOn(t *api.Task, a api.Attempt, at time.Time) bool {
	start, end := span(t, a)
	if at.Before(start) || !at.Before(end) {
		return false
	}
	return !slices.ContainsFunc(p[a.Provider], func(f *fault) bool {
		return f.at.After(start) && !f.at.After(at) && (f.what.kills() || at.Before(f.until))
	})
}

// resumed is how long after a fault a task went on, if the fault stalled all
// that there was of it. It goes on when another attempt begins, when a provider
// that has kept its work is well again, or when the task ends. It was not hit if
// the answer was on its way, or if its provider was well again before that had
// to be noticed.
func (p past) resumed(t *api.Task, f *fault) (took time.Duration, hit bool) {
	if t.Ended == nil || !f.what.stalls() {
		return 0, false
	}
	goesOn := func(at time.Time) bool {
		return slices.ContainsFunc(t.Attempts, func(a api.Attempt) bool { return p.goesOn(t, a, at) })
	}
	if !goesOn(f.at.Add(-1)) || goesOn(f.at) {
		return 0, false
	}
	next, anew := time.Time(*t.Ended), false
	for _, a := range t.Attempts {
		start, end := span(t, a)
		if start.After(f.at) && start.Before(next) {
			next, anew = start, true
		}
		if a.State == "done" && slices.Contains(f.peers, a.Provider) && start.Before(f.at) && end.After(f.at) && end.Before(f.until) {
			return 0, false
		}
		for _, g := range p[a.Provider] {
			if g.until.After(f.at) && g.until.Before(next) && p.goesOn(t, a, g.until) {
				next, anew = g.until, false
			}
		}
	}
	took = next.Sub(f.at)
	return took, anew || took > noticed
}
