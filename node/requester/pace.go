package requester

import (
	"time"

	"github.com/spare-network/spare/protocol"
)

// slowAfter is how long a provider that sends files, or takes a blob, may move
// nothing, or how far it may fall behind [protocol.SlowestTransfer], before it
// is suspected. A spare that is started in vain costs little; a provider that
// trickles would else hold up the task until it is given up, by many times
// more.
const slowAfter = 5 * time.Second

// pace watches how fast one transfer of an attempt goes. A slow one is not
// ended, but puts its provider under suspicion, once. Only one goroutine uses it
// at a time.
type pace struct {
	begun time.Time
	bytes uint64
	timer *time.Timer
}

func (a *attempt) newPace() *pace {
	return &pace{
		begun: time.Now(),
		timer: time.AfterFunc(slowAfter, func() { a.send(event{kind: evSuspected}) }),
	}
}

// moved notes that n bytes more were transferred.
func (p *pace) moved(n int) {
	p.bytes += uint64(n)
	if p.timer.Stop() { // or the provider is suspected already
		behind := time.Until(p.begun.Add(slowAfter + protocol.AtSlowest(p.bytes)))
		p.timer.Reset(min(slowAfter, behind))
	}
}

// Write implements [io.Writer].
func (p *pace) Write(b []byte) (int, error) {
	p.moved(len(b))
	return len(b), nil
}

// stop ends the watch, if there is one.
func (p *pace) stop() {
	if p != nil {
		p.timer.Stop()
	}
}
