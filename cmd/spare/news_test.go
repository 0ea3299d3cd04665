package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/apitest"
)

func event(state string) api.Event {
	return api.Event{Task: &api.Task{ID: "aaaaaaaaaa", State: state, Attempts: []api.Attempt{
		{Provider: apitest.Self, State: "lost"},
		{Provider: apitest.Other, State: state},
	}}}
}

func TestNewsOfAProgramOnItsWay(t *testing.T) {
	const (
		sending   = "spare: sending the program to 12D3KooWHdiAxVd8 for the first time\n"
		compiling = "spare: compiling the program on 12D3KooWHdiAxVd8\n"
	)
	type step struct {
		after time.Duration
		event api.Event
	}
	output := api.Event{Stdout: []byte("hello")}
	for _, c := range []struct {
		name     string
		terminal bool
		steps    []step
		want     string
	}{
		{"a quick one", true, []step{{0, event("fetching")}, {900 * time.Millisecond, event("running")}}, ""},
		{"a slow one", true, []step{{0, event("fetching")}, {2 * time.Second, event("compiling")}, {time.Second, event("compiling")}}, sending + compiling},
		{"a late one", true, []step{{3 * time.Second, event("compiling")}}, compiling},
		{"a slow one that runs", true, []step{{0, event("running")}}, ""},
		{"one that has written", true, []step{{0, event("fetching")}, {0, output}, {2 * time.Second, event("compiling")}}, ""},
		{"a slow one, not at a terminal", false, []step{{0, event("fetching")}, {2 * time.Second, event("compiling")}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said strings.Builder
				n := newNews(&said, c.terminal)
				for _, s := range c.steps {
					time.Sleep(s.after) // of the bubble's clock
					n.note(s.event, time.Now())
				}
				time.Sleep(time.Minute)
				n.stop()
				synctest.Wait()
				if said.String() != c.want {
					t.Errorf("said %q, want %q", said.String(), c.want)
				}
			})
		})
	}
}

func TestWaitingIsToldEvenWithoutATerminalButSeldom(t *testing.T) {
	var said strings.Builder
	n := newNews(&said, false)
	defer n.stop()
	e := event("queued")
	e.Task.Reason = "waiting to ask again"
	at := time.Unix(1e9, 0)
	for after := range time.Hour / time.Second {
		n.note(e, at.Add(after*time.Second))
	}
	// At 0, 30 s, 1.5, 3.5, 7.5 and 15.5 minutes, and then each ten minutes.
	if got, want := said.String(), strings.Repeat("spare: task aaaaaaaaaa is waiting to ask again\n", 10); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestAFailedAttemptIsToldOnce(t *testing.T) {
	var said strings.Builder
	n := newNews(&said, false)
	defer n.stop()
	e := event("running")
	attempts := []api.Attempt{
		{Attempt: 1, Provider: apitest.Self, State: "unreachable", Reason: "it is silent"},
		{Attempt: 2, Provider: apitest.Other, State: "failed", Reason: "near; E-WORKER: \x1b[31mit crashed"},
		{Attempt: 3, Provider: apitest.Self, State: "running"},
	}
	for shown := range attempts { // the last of the first two is not made again yet
		e.Task.Attempts = attempts[:shown+1]
		n.note(e, time.Now())
		n.note(e, time.Now())
	}
	if got, want := said.String(), "spare: attempt 2 failed on 12D3KooWHdiAxVd8, another is made: near; E-WORKER: [31mit crashed\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}
