package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"

	"github.com/spare-network/spare/protocol"
)

// clockStep is what each reading of a clock moves it by, in nanoseconds, so
// that time passes and two readings differ.
const clockStep = 1000

// guest is the world that one task's program sees. It serves one task at a
// time and is reset between them.
type guest struct {
	spec      *protocol.Spec
	specBytes []byte
	elapsed   int64         // virtual nanoseconds since the start
	random    *rand.ChaCha8 // nil until the guest asks
	stdin     *input        // what it reads
	stdout    *writer       // what it writes
	stderr    *writer       //
}

func newGuest(out *output, frames *frameReader) *guest {
	return &guest{
		stdin:  &input{frames: frames},
		stdout: &writer{out: out, fd: 1},
		stderr: &writer{out: out, fd: 2},
	}
}

// reset prepares for the task of request, whose spec is given.
func (g *guest) reset(request *protocol.WorkerRequest, spec *protocol.Spec) {
	g.spec, g.specBytes, g.elapsed, g.random = spec, request.Spec, 0, nil
	g.stdin.id, g.stdin.follows = request.Id, request.StdinFollows
	g.stdin.rest.Reset(request.Stdin)
	if !request.StdinFollows && len(request.Stdin) == 0 {
		g.stdin.rest.Reset(spec.Stdin.GetInline())
	}
}

// advance moves the virtual clock by d nanoseconds and returns it.
func (g *guest) advance(d int64) int64 {
	if d > math.MaxInt64-g.elapsed {
		d = math.MaxInt64 - g.elapsed
	}
	g.elapsed += max(d, 0)
	return g.elapsed
}

func (g *guest) nanotime() int64 { return g.advance(clockStep) }

// sleep returns at once: the guest's time has passed, nobody else's has.
func (g *guest) sleep(ns int64) { g.advance(ns) }

func (g *guest) walltime() (sec int64, nsec int32) {
	start, elapsed := g.spec.ClockUnixNs, g.advance(clockStep)
	sec = start/1e9 + elapsed/1e9
	rest := start%1e9 + elapsed%1e9
	sec += rest / 1e9
	rest %= 1e9
	if rest < 0 { // a start before 1970
		sec, rest = sec-1, rest+1e9
	}
	return sec, int32(rest)
}

// Read gives random bytes: a ChaCha8 stream (https://c2sp.org/chacha8rand)
// seeded by the digest of the Spec and its seed.
func (g *guest) Read(p []byte) (int, error) {
	if g.random == nil {
		digest := protocol.DigestOf(g.specBytes)
		b := append([]byte("spare/random/1\x00"), digest[:]...)
		b = binary.BigEndian.AppendUint64(b, g.spec.Seed)
		g.random = rand.NewChaCha8(sha256.Sum256(b))
	}
	return g.random.Read(p)
}

// input is a task's stdin: what came with the request, then, when more
// follows, what comes in further messages. They are read from the pipe only as
// the guest reads, so the pipe holds back who writes too fast.
type input struct {
	frames  *frameReader
	id      uint64
	rest    bytes.Reader
	follows bool
}

// Read implements [io.Reader].
func (i *input) Read(p []byte) (int, error) {
	for i.rest.Len() == 0 {
		if !i.follows {
			return 0, io.EOF
		}
		i.receive()
	}
	return i.rest.Read(p)
}

// skip reads to the end what the guest left unread.
func (i *input) skip() {
	for i.follows {
		i.receive()
	}
}

func (i *input) receive() {
	m := new(protocol.WorkerRequest)
	if err := i.frames.next(m); err != nil {
		fatal(err) // the node is gone, and so is everybody who waits
	}
	if m.Id != i.id || len(m.Spec) > 0 {
		fatal(errOutOfTurn)
	}
	i.follows = m.StdinFollows
	i.rest.Reset(m.Stdin)
}

// writer is the guest's stdout or stderr.
type writer struct {
	out *output
	fd  uint32
}

// Write implements [io.Writer]. It ends the guest at the output limit.
func (w *writer) Write(p []byte) (int, error) {
	if !w.out.write(w.fd, p) {
		stopGuest()
	}
	return len(p), nil
}
