// Package apitest is a stand-in for a node, for tests of the API, its client
// and the command line. Its programs are modules whose bytes after the header
// are one instruction in plain words, see [Module]; it must never be part of a
// real node.
package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// Self and Other are the peer IDs of the stand-in and of its only neighbour.
const (
	Self  = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
	Other = "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD"
)

// Token is the stand-in's.
const Token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// Submitted is when the stand-in's first task was submitted.
var Submitted = time.Date(2026, time.March, 1, 12, 0, 0, 123e6, time.UTC)

// Module returns the bytes of a program: "cat" copies stdin to stdout, "args"
// prints its args and env, "exit N" writes to both outputs and exits, "copy N"
// copies /in to /out, lists it and exits, "leave PATH..." leaves files of these
// paths that hold their paths, "fail CODE" ends with that error, "block" writes
// a line and goes on until it is cancelled, "pour" too, after a MiB.
func Module(instruction string) []byte { return []byte("\x00asm\x01\x00\x00\x00" + instruction) }

// Node is the stand-in. It implements [api.Tasks], [api.Blobs], [api.Data],
// [api.Node], [api.Owner] and [api.Host].
type Node struct {
	dir string

	mu     sync.Mutex
	tasks  []*task // oldest first
	added  []*protocol.Added
	puts   int
	alone  bool
	broken bool
	paused api.Donate // while it is
	cpu    string     // rule, while there is one
	who    api.Access // latest first
	note   func(protocol.TaskID)
}

type task struct {
	snapshot *protocol.Task // replaced when it changes, never changed itself
	out      [3][]byte      // by descriptor
	files    []*protocol.File
	done     chan struct{}
}

// New returns a Node that keeps blobs in dir.
func New(dir string) *Node { return &Node{dir: dir} }

// SetAlone takes the neighbour away, or brings it back.
func (n *Node) SetAlone(alone bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alone = alone
}

// Break takes a required layer of the sandbox away.
func (n *Node) Break() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken = true
}

// Puts returns how many blobs were stored.
func (n *Node) Puts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.puts
}

// Touched reports whether anything was changed here since it was made.
func (n *Node) Touched() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.puts > 0 || len(n.tasks) > 0 || len(n.added) > 0 || n.paused.State != "" || n.cpu != "" || len(n.who.Blocked)+len(n.who.Allowed) > 0
}

// Put stores a blob.
func (n *Node) Put(r io.Reader, most int64) (protocol.Digest, int64, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return protocol.Digest{}, 0, fmt.Errorf("read blob: %w", err)
	}
	if int64(len(b)) > most {
		return protocol.Digest{}, 0, fmt.Errorf("blob of more than %d bytes", most)
	}
	n.mu.Lock()
	n.puts++
	n.mu.Unlock()
	d := protocol.DigestOf(b)
	return d, int64(len(b)), os.WriteFile(filepath.Join(n.dir, d.String()), b, 0o600)
}

// Open opens a blob.
func (n *Node) Open(d protocol.Digest) (*os.File, int64, error) {
	f, err := os.Open(filepath.Join(n.dir, d.String()))
	if err != nil {
		return nil, 0, protocol.Errorf(protocol.CodeBlob, "the blob %s is not here", d)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (n *Node) bytes(b *protocol.Blob) ([]byte, error) {
	if b.IsInline() {
		return b.Inline, nil
	}
	return os.ReadFile(filepath.Join(n.dir, b.Sum().String()))
}

// Submit accepts a task, and runs it at once unless it blocks.
func (n *Node) Submit(_ context.Context, spec *protocol.Spec, terms *protocol.Terms, name string) (protocol.TaskID, error) {
	raw, err := spec.Marshal()
	if err != nil {
		return "", err
	}
	module, err := n.bytes(spec.Module)
	if err != nil {
		return "", err
	}
	stdin, err := n.bytes(spec.Stdin)
	if err != nil {
		return "", err
	}
	for _, f := range spec.Inputs {
		if _, err := n.bytes(f.Blob); err != nil {
			return "", err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alone && terms.Where == protocol.WhereRemote {
		return "", protocol.Errorf(protocol.CodeNoPeers, "no peer is known").WithHint("join a network")
	}
	at := Submitted.Add(time.Duration(len(n.tasks)) * time.Minute).UnixMilli()
	// The first IDs count up in the alphabet, so that tests can name them.
	id := string(protocol.NewTaskID())
	if i := len(n.tasks); i < 26 {
		id = strings.Repeat(string(rune('a'+i)), protocol.TaskIDLen)
	}
	t := &task{done: make(chan struct{}), snapshot: &protocol.Task{
		Id: id, Spec: raw, Terms: terms, Name: name, SubmittedUnixMs: at,
		State: protocol.StateRunning, Reason: "running on the nearest idle peer",
		Replicas: []*protocol.Replica{
			{
				Attempt: 1, Provider: Self, State: protocol.StateRefused, Reason: "least loaded; its slots filled up",
				RttUs: -1, EndedUnixMs: at + 1,
			},
			{
				Attempt: 2, Provider: Other, State: protocol.StateRunning, Reason: "nearest idle peer, \x1b[31m1.5 ms",
				RttUs: 1500, StartedUnixMs: at + 2,
			},
		},
	}}
	n.tasks = append(n.tasks, t)
	defer n.changed(id)
	t.run(string(module[len(Module("")):]), spec, stdin)
	return protocol.TaskID(id), nil
}

func (t *task) run(instruction string, spec *protocol.Spec, stdin []byte) {
	verb, arg, _ := strings.Cut(instruction, " ")
	var number int
	_, _ = fmt.Sscan(arg, &number) // 0 without a number
	switch verb {
	case "cat":
		t.out[1] = stdin
		t.end(0, "", "")
	case "args":
		t.out[1] = []byte(strings.Join(append(spec.Args, spec.Env...), "\n") + "\n")
		t.end(0, "", "")
	case "exit":
		t.out[1], t.out[2] = []byte("to stdout\n"), []byte("to stderr\n")
		t.end(int32(number), "", "")
	case "copy":
		for _, f := range spec.Inputs {
			t.out[1] = fmt.Appendf(t.out[1], "%s %d\n", f.Path, f.Blob.Size)
			t.files = append(t.files, &protocol.File{Path: protocol.OutputDir + strings.TrimPrefix(f.Path, protocol.InputDir), Blob: f.Blob})
		}
		t.end(int32(number), "", "")
	case "leave":
		for path := range strings.FieldsSeq(arg) {
			t.files = append(t.files, &protocol.File{Path: path, Blob: protocol.NewBlob([]byte(path))})
		}
		t.end(0, "", "")
	case "fail":
		name, hint, _ := strings.Cut(arg, " ")
		code := protocol.Code(name)
		t.end(int32(code.ExitStatus()), code, "it failed as it was told to", hint)
	case "pour":
		t.out[1] = bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	default:
		t.out[1] = []byte("started\n")
	}
}

func (t *task) end(exit int32, code protocol.Code, message string, hint ...string) {
	s := &protocol.Task{
		Id: t.snapshot.Id, Spec: t.snapshot.Spec, Terms: t.snapshot.Terms, Name: t.snapshot.Name,
		SubmittedUnixMs: t.snapshot.SubmittedUnixMs, EndedUnixMs: t.snapshot.SubmittedUnixMs + 42,
		State: protocol.StateDone, Reason: message, Replicas: slices.Clone(t.snapshot.Replicas),
		Result: &protocol.Result{
			ExitCode: exit, Code: string(code), Message: message, Hint: strings.Join(hint, ""), WallUs: 40_125, Gas: 1_234_567,
			Stdout: protocol.NewBlob(t.out[1]), Stderr: protocol.NewBlob(t.out[2]), Files: t.files,
		},
	}
	last := s.Replicas[1]
	s.Replicas[1] = &protocol.Replica{
		Attempt: 2, Provider: last.Provider, State: protocol.StateDone, Reason: last.Reason,
		RttUs: last.RttUs, StartedUnixMs: last.StartedUnixMs, EndedUnixMs: s.EndedUnixMs,
	}
	if code != "" {
		s.Result.ExitSource = protocol.FromSystem
	}
	if code == protocol.CodeCancelled {
		s.State = protocol.StateCancelled
	}
	t.snapshot = s
	close(t.done)
}

func (n *Node) find(prefix string) (*task, error) {
	var found []*task
	for _, t := range n.tasks {
		if strings.HasPrefix(t.snapshot.Id, prefix) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return nil, protocol.Errorf(protocol.CodeNotFound, "no task begins with %q", prefix).WithHint("see 'spare ps'")
	case 1:
		return found[0], nil
	default:
		return nil, protocol.Errorf(protocol.CodeAmbiguous, "%d tasks begin with %q", len(found), prefix)
	}
}

// Task returns a task by the beginning of its ID.
func (n *Node) Task(prefix string) (*protocol.Task, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.find(prefix)
	if err != nil {
		return nil, err
	}
	return t.snapshot, nil
}

// Tasks returns tasks, newest first.
func (n *Node) Tasks(limit int, before protocol.TaskID) ([]*protocol.Task, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*protocol.Task
	skip := before != ""
	for _, t := range slices.Backward(n.tasks) {
		if !skip && len(list) < limit {
			list = append(list, t.snapshot)
		}
		skip = skip && t.snapshot.Id != string(before)
	}
	return list, nil
}

// Follow replays a task and waits for its end.
func (n *Node) Follow(ctx context.Context, id protocol.TaskID, out func(int, []byte) error, changed func(*protocol.Task)) (*protocol.Task, error) {
	n.mu.Lock()
	t, err := n.find(string(id))
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	now := t.snapshot
	n.mu.Unlock()
	if changed != nil {
		changed(now)
	}
	for fd := 1; fd <= 2 && out != nil; fd++ {
		for piece := range slices.Chunk(t.out[fd], protocol.MaxOutputChunk) {
			if err := out(fd, piece); err != nil {
				return nil, err
			}
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.done:
	}
	end, err := n.Task(string(id))
	if err == nil && end != now && changed != nil {
		changed(end)
	}
	return end, err
}

// Output opens what a task has written.
func (n *Node) Output(id protocol.TaskID, fd int) (io.ReadCloser, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.find(string(id))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(t.out[fd])), nil
}

// OpenFile opens what a task has left.
func (n *Node) OpenFile(id protocol.TaskID, path string) (io.ReadCloser, uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.find(string(id))
	if err != nil {
		return nil, 0, err
	}
	for _, f := range t.files {
		if f.Path == path {
			b, err := n.bytes(f.Blob)
			return io.NopCloser(bytes.NewReader(b)), uint64(len(b)), err
		}
	}
	return nil, 0, protocol.Errorf(protocol.CodeNotFound, "task %s has left no file %s", id, path)
}

// Cancel ends a task that blocks.
func (n *Node) Cancel(id protocol.TaskID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, err := n.find(string(id))
	if err != nil {
		return err
	}
	if !t.snapshot.State.Ended() {
		defer n.changed(t.snapshot.Id)
		t.end(protocol.ExitSystem, protocol.CodeCancelled, "the user cancelled")
	}
	return nil
}

// Watch tells of tasks that were submitted or cancelled.
func (n *Node) Watch(note func(protocol.TaskID)) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note = note
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.note = nil
	}
}

// changed is called with mu held.
func (n *Node) changed(id string) {
	if n.note != nil {
		n.note(protocol.TaskID(id))
	}
}
