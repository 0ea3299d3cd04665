package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

const (
	// barEvery is how often a bar is drawn, plainEvery a line written.
	barEvery   = 250 * time.Millisecond
	plainEvery = 30 * time.Second
	barWidth   = 24
)

// progress tells of a job's progress on stderr. Its methods are called from one
// goroutine.
type progress struct {
	w     io.Writer
	how   string // bar, plain, jsonl or none
	first api.Job
	began time.Time // when the first was noted
	told  time.Time
	drawn bool // a bar stands on the last line
}

func newProgress(how string, w *os.File) *progress {
	if how == "auto" {
		how = "plain"
		if isTerminal(w) {
			how = "bar"
		}
	}
	return &progress{w: w, how: how}
}

// note takes how far the job has come.
func (p *progress) note(j *api.Job) {
	now := time.Now()
	if p.began.IsZero() {
		p.first, p.began, p.told = *j, now, now
	}
	since := now.Sub(p.told)
	switch {
	case p.how == "jsonl":
		line := struct {
			Job    string   `json:"job"`
			State  string   `json:"state"`
			Tasks  uint64   `json:"tasks"`
			Passed uint64   `json:"passed"`
			Failed uint64   `json:"failed"`
			ETA    *float64 `json:"eta_s"`
		}{j.ID, j.State, j.Tasks, j.Passed, j.Failed, nil}
		if eta, ok := p.eta(j, now); ok {
			s := eta.Seconds()
			line.ETA = &s
		}
		_ = json.NewEncoder(p.w).Encode(line) // there is nobody else to tell
	case p.how == "plain" && since >= plainEvery:
		p.told = now
		fmt.Fprintf(p.w, "spare: job %s: %s\n", j.ID, p.text(j, now))
	case p.how == "bar" && since >= barEvery && j.Ended == nil:
		p.told = now
		done := int(barWidth * (j.Passed + j.Failed) / max(j.Tasks, 1))
		// A terminal that is too narrow cuts it off: a bar that went on in the next
		// line could not be taken away.
		fmt.Fprintf(p.w, "\r\x1b[K\x1b[?7l[%s%s] %s\x1b[?7h", strings.Repeat("=", done), strings.Repeat(" ", barWidth-done), p.text(j, now))
		p.drawn = true
	}
}

func (p *progress) text(j *api.Job, now time.Time) string {
	text := progressText(j)
	if eta, ok := p.eta(j, now); ok {
		left := "<1s"
		if eta >= time.Second {
			left = protocol.TimeText(eta.Round(time.Second))
		}
		text += ", " + left + " to go"
	}
	return text
}

// eta is how long the rest takes at the pace since the first note.
func (p *progress) eta(j *api.Job, now time.Time) (time.Duration, bool) {
	done := j.Passed + j.Failed - min(p.first.Passed+p.first.Failed, j.Passed+j.Failed)
	took := now.Sub(p.began)
	if done == 0 || took < time.Second {
		return 0, false
	}
	left := j.Tasks - j.Passed - j.Failed
	return time.Duration(float64(took) / float64(done) * float64(left)), true
}

// hide takes the bar away before something else is written.
func (p *progress) hide() {
	if p.drawn {
		p.drawn = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *progress) stop() { p.hide() }
