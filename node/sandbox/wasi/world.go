package wasi

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// Exit is the error by which a guest ends itself.
type Exit struct{ Code uint32 }

// Error implements error.
func (e *Exit) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Input is a file that the guest finds when it starts. Its data is shared and
// never written.
type Input struct {
	Path string // absolute and clean, below /in
	Data []byte
}

// Config is what a guest finds. Nothing in it changes while the guest runs.
type Config struct {
	Args, Env []string // without NUL

	Clock int64    // what the wall clock starts at, in nanoseconds since 1970
	Seed  [32]byte // of the random stream (ChaCha8, https://c2sp.org/chacha8rand)

	Stdin          io.Reader // nil is empty
	Stdout, Stderr io.Writer // nil takes everything

	// Inputs are files below /in. None is within another, no path is there
	// twice, and all of them keep to the limits; the caller has checked that.
	Inputs    []Input
	FileBytes uint64 // limit on the size of all files together
	Files     uint32 // limit on the number of directory entries

	GasLimit uint64 // what the account has at the start
}

// World is what one guest at a time sees and changes. It is for one goroutine.
type World struct {
	config Config
	gas    Gas
	slept  int64 // nanoseconds

	argsSize, envSize uint64 // their textSize, as a guest may ask for it often

	random *rand.ChaCha8 // kept between guests
	seeded bool          // with the seed of this one

	files *tree // nil until the guest looks
	table table

	buffers [][]byte // scratch of vectors
	events  []byte   // scratch of pollOneoff
}

// NewWorld returns a World that is to be reset before use.
func NewWorld() *World {
	w := new(World)
	w.Reset(Config{})
	return w
}

// Reset prepares for a guest that is given c, and forgets the one before with
// all that it held.
func (w *World) Reset(c Config) {
	if c.Stdin == nil {
		c.Stdin = strings.NewReader("")
	}
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	if c.Stderr == nil {
		c.Stderr = io.Discard
	}
	clear(w.buffers[:cap(w.buffers)]) // they hold the memory of another instance
	w.config, w.gas, w.slept, w.seeded, w.files = c, unmetered{}, 0, false, nil
	w.argsSize, w.envSize = textSize(c.Args), textSize(c.Env)
	w.table.reset(&w.config)
}

// Start sets the account that pays for what is called from now on.
func (w *World) Start(g Gas) { w.gas = g }
