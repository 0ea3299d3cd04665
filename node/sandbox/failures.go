package sandbox

import (
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// failures remembers modules that could not be prepared though nothing is wrong
// with them that could be told: they take the compiler too long, or too much
// memory. Each is remembered for failureTimes as long as it was tried, so that a
// stranger cannot keep a machine busy with one such module.
type failures struct {
	mu   sync.Mutex
	list map[protocol.Digest]failure
}

type failure struct {
	err   error
	until time.Time
}

const failureTimes = 10

// look returns why the module could not be prepared, or nil.
func (f *failures) look(module protocol.Digest, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.list[module]; ok && now.Before(e.until) {
		return e.err
	}
	return nil
}

// note remembers an error of a preparation that began at start. Errors that tell
// what is wrong with the module come from a short look at it, and those of the
// caller's making say nothing about it.
func (f *failures) note(module protocol.Digest, err error, start, now time.Time) {
	if protocol.CodeOf(err) != protocol.CodeWorker {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list == nil {
		f.list = make(map[protocol.Digest]failure)
	}
	for d, e := range f.list { // few: each was tried for a tenth of its time here
		if !now.Before(e.until) {
			delete(f.list, d)
		}
	}
	f.list[module] = failure{err, now.Add(failureTimes * now.Sub(start))}
}
