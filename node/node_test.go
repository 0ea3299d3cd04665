package node_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

func TestMain(m *testing.M) {
	sandbox.WorkerMain()
	os.Exit(m.Run())
}

// seven is the module
//
//	(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
//	(memory (export "memory") 1)
//	(func (export "_start") (call 0 (i32.const 7)))
const seven = "\x00asm\x01\x00\x00\x00" +
	"\x01\x08\x02\x60\x01\x7f\x00\x60\x00\x00" +
	"\x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\x00\x00" +
	"\x03\x02\x01\x01" +
	"\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x01" +
	"\x0a\x08\x01\x06\x00\x41\x07\x10\x00\x0b"

// lines is where a log goes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestRequiredLayerThatIsMissing needs a machine that lacks one. Where nothing
// is lacking there is nothing to be refused either.
func TestRequiredLayerThatIsMissing(t *testing.T) {
	d, err := node.Diagnose(t.Context(), node.Default())
	if err != nil {
		t.Fatal(err)
	}
	missing, why := "", ""
	for _, l := range d.Layers {
		if !l.InForce {
			missing, why = l.Name, l.Why
		}
	}
	if missing == "" {
		t.Skip("this machine has every layer")
	}
	if !d.Sound() {
		t.Errorf("not sound though nothing is required: %+v", d)
	}

	var log lines
	cfg := node.Default()
	cfg.Home, cfg.Dashboard = apitest.Home(t), ""
	cfg.Flags = donor.Rules{donor.RuleIdle: "no", donor.RuleSlots: "1"}
	cfg.Require, cfg.Logger = []string{missing}, slog.New(slog.NewTextHandler(&log, nil))
	ready := make(chan node.Info, 1)
	cfg.Ready = func(i node.Info) { ready <- i }
	n, err := node.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var info node.Info
	select {
	case info = <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the node is not ready after a minute")
	}
	want := "the sandbox layer " + missing + " is required and not in force: " + why
	if info.Paused != want {
		t.Errorf("the user is told %q, want %q", info.Paused, want)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), missing) {
		t.Errorf("the log is %s", log.String())
	}
	c := client.New(cfg.Home + "/api.sock")
	s, err := c.Status(t.Context())
	if err != nil || s.Donate.State != "paused" || s.Donate.Reason != want {
		t.Errorf("the status is %+v: %v", s.Donate, err)
	}
	found, err := c.Diagnose(t.Context())
	if err != nil || found.Sound() {
		t.Errorf("sound: %+v: %v", found, err)
	}

	// Its own tasks run all the same.
	module, _, err := n.Blobs().Put(strings.NewReader(seven), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	limits := protocol.DefaultLimits()
	limits.MemoryBytes = protocol.PageSize
	task, err := n.Do(t.Context(), &protocol.Spec{
		Module: &protocol.Blob{Digest: module[:], Size: uint64(len(seven))}, Args: []string{"seven"}, Stdin: protocol.NewBlob(nil),
		Limits: limits, Profile: protocol.Profile,
	}, &protocol.Terms{Replicas: 1}, "seven")
	if err != nil || task.Result.GetExitCode() != 7 || task.Result.GetExitSource() != protocol.FromGuest {
		t.Errorf("the node's own task ended as %v: %v", task, err)
	}
}

func TestEveryLayerHasWords(t *testing.T) {
	cfg := node.Default()
	cfg.Require = sandbox.LayerNames()
	d, err := node.Diagnose(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Layers) == 0 || len(d.Trials) == 0 {
		t.Fatalf("nothing found: %+v", d)
	}
	for _, l := range d.Layers {
		if l.Does == "" || !l.Required || (l.Why == "") != l.InForce {
			t.Errorf("the layer %+v", l)
		}
	}
	for _, x := range d.Trials {
		if x.What == "" || x.Result == "" {
			t.Errorf("the trial %+v", x)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	cfg := node.Default()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.Ceilings.Module.Nesting++
	if err := cfg.Validate(); protocol.CodeOf(err) != protocol.CodeConfig {
		t.Errorf("more than the profile: %v", err)
	}
}
