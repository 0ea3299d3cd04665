package requester

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

var errCancelled = protocol.Errorf(protocol.CodeCancelled, "the user cancelled it")

// task is a task under way.
type task struct {
	r      *Requester
	id     protocol.TaskID
	spec   *protocol.Spec
	raw    []byte           // the spec's bytes, verbatim
	blobs  []*protocol.Blob // what its providers may fetch from here
	digest protocol.Digest
	terms  *protocol.Terms
	on     peer.ID         // the only provider wanted, or empty
	wishes []protocol.Wish // of the labels of providers
	part   bool            // of a job, which keeps its result
	ctx    context.Context // ends when the task does
	cancel context.CancelCauseFunc
	events chan *event // from peers and timers to conduct
	done   chan struct{}
	unpin  []func()
	// settled is until when a lack of peers or offers may be due to the node's
	// own start, and ends no task.
	settled time.Time

	// saving serialises what is journaled, so that nothing earlier lands upon
	// the last record. It is held across the journal's queue.
	saving sync.Mutex

	mu      sync.Mutex
	record  *protocol.Task
	waiting string        // why no provider is asked now, or empty
	changed bool          // since it was last journaled
	watch   chan struct{} // closed at the next change, if anybody watches

	// turn has one place, for who writes output, since replicas write the same
	// one, or ends the writing. It is no mutex, for a spool's file is read and
	// written in turn: a replica that is withdrawn meanwhile does not wait, and
	// those who follow the output never do.
	turn   chan struct{}
	sealed bool                           // nothing is added any more; read and set in turn
	out    [2]atomic.Pointer[store.Spool] // of stdout and stderr; set in turn
}

// newTask checks what the user wants and makes a task of it.
func (r *Requester) newTask(id protocol.TaskID, spec *protocol.Spec, terms *protocol.Terms, name string) (*task, error) {
	if err := spec.Validate(); err != nil {
		return nil, protocol.Errorf(protocol.CodeBadRequest, "%v", err)
	}
	if terms.Replicas == 0 {
		terms.Replicas = 1
	}
	if terms.Replicas > protocol.MaxReplicas {
		return nil, protocol.Errorf(protocol.CodeBadRequest, "%d replicas wanted, at most %d", terms.Replicas, protocol.MaxReplicas)
	}
	terms.Verify = cmp.Or(terms.Verify, r.cfg.Verify, protocol.VerifyOff)
	if terms.On != "" {
		if _, err := peer.Decode(terms.On); err != nil {
			return nil, protocol.Errorf(protocol.CodeBadRequest, "%.80q is not a peer ID", terms.On).WithHint("'spare peers' lists them")
		}
	}
	if _, err := protocol.ParseWishes(terms.Labels); err != nil {
		return nil, err
	}
	for _, b := range blobsOf(spec) {
		if !r.cfg.Blobs.Has(b.Sum()) {
			return nil, protocol.Errorf(protocol.CodeBlob, "the blob %s is not in this node's store", b.Sum().CID()).
				WithHint("upload it first")
		}
	}
	if len(spec.Transfers()) > 0 {
		spec = proto.CloneOf(spec) // the caller's stays as it is
		if err := spec.Inline(r.readBlob); err != nil {
			return nil, err
		}
	}
	raw, err := spec.Marshal()
	if err != nil {
		return nil, err
	}
	return r.makeTask(spec, &protocol.Task{
		Id:              string(id),
		Spec:            raw,
		Terms:           terms,
		Name:            protocol.SafeText(name),
		SubmittedUnixMs: time.Now().UnixMilli(),
		State:           protocol.StateQueued,
		Reason:          "looking for a provider",
	}), nil
}

// blobsOf returns what spec names and does not hold.
func blobsOf(spec *protocol.Spec) []*protocol.Blob {
	return append([]*protocol.Blob{spec.Module}, spec.Transfers()...)
}

// missing returns an error when a blob that the task needs is in this node's
// store no more, so that no provider could get it. It is pinned: it goes only
// when its bytes are found to be others than its digest's.
func (t *task) missing() error {
	for _, b := range t.blobs {
		if !t.r.cfg.Blobs.Has(b.Sum()) {
			return damaged(t.nameOf(b), b)
		}
	}
	return nil
}

// nameOf says what of the task a blob is.
func (t *task) nameOf(b *protocol.Blob) string {
	switch b {
	case t.spec.Module:
		return "module"
	case t.spec.Stdin:
		return "stdin"
	}
	for _, f := range t.spec.Inputs {
		if f.Blob == b {
			return "input " + f.Path
		}
	}
	return "blob"
}

func damaged(what string, b *protocol.Blob) error {
	return protocol.Errorf(protocol.CodeBlob, "the %s (%s) was damaged in this node's store, and is removed", what, b.Sum().CID()).
		WithHint("upload it again; 'spare run' does so when it is run again")
}

func (r *Requester) makeTask(spec *protocol.Spec, record *protocol.Task) *task {
	t := &task{
		r:       r,
		id:      protocol.TaskID(record.Id),
		spec:    spec,
		raw:     record.Spec,
		blobs:   blobsOf(spec),
		digest:  protocol.DigestOf(record.Spec),
		terms:   record.Terms,
		events:  make(chan *event, eventsPerAttempt*(record.Terms.Replicas+1)),
		done:    make(chan struct{}),
		turn:    make(chan struct{}, 1),
		record:  record,
		settled: r.started.Add(settleNew),
		// An attached task is journaled when it ends or by the next sweep, so
		// that a short one costs one write.
		changed: true,
	}
	if record.Terms.On != "" {
		// newTask has checked it; a record that has gone bad means no restriction.
		t.on, _ = peer.Decode(record.Terms.On)
	}
	t.wishes, _ = protocol.ParseWishes(record.Terms.Labels) // likewise
	return t
}

// update changes the record under the lock and wakes whoever watches.
func (t *task) update(change func(record *protocol.Task)) {
	t.mu.Lock()
	change(t.record)
	t.changed = true
	t.wakeLocked()
	t.mu.Unlock()
	t.note()
}

// note tells whoever watches all tasks that this one has changed.
func (t *task) note() {
	if note := t.r.watcher.Load(); note != nil && !t.part {
		(*note)(t.id)
	}
}

func (t *task) wake() {
	t.mu.Lock()
	t.wakeLocked()
	t.mu.Unlock()
}

func (t *task) wakeLocked() {
	if t.watch != nil {
		close(t.watch)
		t.watch = nil
	}
}

// nextChange returns a channel that is closed at the next change.
func (t *task) nextChange() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watch == nil {
		t.watch = make(chan struct{})
	}
	return t.watch
}

// snapshot returns the record as it is now. It must not be changed.
func (t *task) snapshot() *protocol.Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.record.Result != nil {
		return t.record // nothing changes it any more
	}
	return proto.CloneOf(t.record)
}

// stage is what a follower is told when it changes.
type stage struct {
	state   protocol.State
	waiting string // why no provider is asked now, or empty
	ended   bool
}

// stageNow returns where the task is.
func (t *task) stageNow() stage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return stage{t.record.State, t.waiting, t.record.Result != nil}
}

func (t *task) saveIfChanged(j Journal) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	if !t.changed || t.record.Result != nil { // conclude saves the last one
		t.mu.Unlock()
		return nil
	}
	t.changed = false
	snapshot := proto.CloneOf(t.record)
	t.mu.Unlock()
	if t.part {
		return j.SavePart(snapshot)
	}
	return j.SaveTask(snapshot)
}

// conclude writes the task's one result. Nothing retracts it.
func (t *task) conclude(result *protocol.Result, err error) {
	if result == nil {
		result = failed(err)
	}
	var errs [2]error
	t.stopWriting()
	result.Stdout, errs[0] = finishSpool(t.out[0].Load())
	result.Stderr, errs[1] = finishSpool(t.out[1].Load())
	if err := errors.Join(errs[:]...); err != nil {
		t.r.cfg.Logger.Error("cannot keep a task's output", "task", t.id, "err", err)
		result.Code, result.ExitSource = string(protocol.CodeFile), protocol.FromSystem
		result.ExitCode = protocol.ExitSystem
		result.Message = "its output could not be kept: " + err.Error()
		result.Stdout, result.Stderr = protocol.NewBlob(nil), protocol.NewBlob(nil)
		result.Files, result.FileCount, result.Pack = nil, 0, nil
	}
	t.update(func(record *protocol.Task) {
		record.Result = result
		record.State = endState(protocol.Code(result.Code))
		record.Reason = result.Message
		record.EndedUnixMs = time.Now().UnixMilli()
	})
	t.r.figures.end(result)
	t.saving.Lock()
	defer t.saving.Unlock()
	if t.part {
		return // its job saves it
	}
	if err := t.r.cfg.Journal.SaveTask(t.record); err != nil {
		t.r.cfg.Logger.Error("cannot journal a result", "task", t.id, "err", err)
	}
}

func finishSpool(s *store.Spool) (*protocol.Blob, error) {
	if s == nil {
		return protocol.NewBlob(nil), nil
	}
	return s.Finish()
}

// close ends the task's life in memory; the journal has what is to be known.
func (t *task) close() {
	t.cancel(nil)
	t.stopWriting() // an attempt may be at it yet
	for i := range t.out {
		if s := t.out[i].Load(); s != nil {
			s.Discard()
		}
	}
	for _, release := range t.unpin {
		release()
	}
	t.r.mu.Lock()
	delete(t.r.tasks, t.id)
	t.r.mu.Unlock()
	close(t.done)
	t.wake()
}

// failed is the result of a task that spare could not bring to one.
func failed(err error) *protocol.Result {
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = protocol.Errorf(protocol.CodeInternal, "%v", err)
	}
	return &protocol.Result{
		ExitCode:   int32(e.Code.ExitStatus()),
		ExitSource: protocol.FromSystem,
		Code:       string(e.Code),
		Message:    e.Message,
		Hint:       e.Hint,
	}
}

// mend is what the user may do about a guest that met a limit of its task, or
// nothing.
func mend(code protocol.Code) string {
	switch code {
	case protocol.CodeTimeout:
		return "allow it more with --timeout"
	case protocol.CodeOutputLimit:
		return "allow it more with --output-limit"
	case protocol.CodeFileLimit:
		return "if they are too many or too large, allow more with --files or --file-bytes; if it is a name, have it choose a plainer one"
	case protocol.CodeMemoryLimit:
		return "allow it more with --mem"
	case protocol.CodeGasLimit:
		return "allow it more with --gas"
	case protocol.CodeDepthLimit:
		return "look for a recursion without an end; the depth of calls is the same everywhere and no flag raises it"
	default:
		return ""
	}
}

func endState(code protocol.Code) protocol.State {
	switch code {
	case protocol.CodeCancelled:
		return protocol.StateCancelled
	case protocol.CodeLost:
		return protocol.StateLost
	case protocol.CodeNoPeers, protocol.CodeNoOffers, protocol.CodeBusy, protocol.CodeRefused, protocol.CodeBlocked, protocol.CodeNotFound:
		return protocol.StateRefused
	default:
		return protocol.StateDone
	}
}
