package provider

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// output takes what a guest writes, and then the files that it leaves, and sums
// it up. Output that is small and early enough to be whole when the guest ends
// rides in the Outcome; everything else, and every file, goes into a
// transcript.
type output struct {
	p      *Provider
	r      *replica
	to     *transcript // nil: nothing was written so far
	frame  []byte
	err    error
	hashes [2]hash.Hash // of what the transcript has
	sizes  [2]uint64
	inline [2][]byte
	taken  *protocol.Outputs // checks the worker's words on files; nil: it has told of none
	files  []*protocol.File  // what it took, in the end
	begun  time.Time         // when the first file was
	timer  *time.Timer       // cancels the replica when they take too long
}

// errSlowFiles is the cause for which a replica is cancelled whose worker
// delays its files.
var errSlowFiles = errors.New("its output files took too long to come")

// write takes data of stdout, stderr or the file last begun.
func (o *output) write(fd uint32, data []byte) {
	if !o.open() {
		return
	}
	switch {
	case fd == 1 || fd == 2:
		o.hashes[fd-1].Write(data)
		o.sizes[fd-1] += uint64(len(data))
	case fd == 3 && o.taken != nil:
		if _, err := o.taken.Write(data); err != nil {
			o.blameWorker(err)
		}
	default:
		o.blameWorker(fmt.Errorf("bytes for descriptor %d", fd))
	}
	for len(data) > 0 && o.err == nil {
		n := min(len(data), protocol.MaxOutputChunk)
		o.append(&protocol.OutputChunk{Fd: fd, Data: data[:n]})
		data = data[n:]
	}
}

// file begins an output file, of which the bytes follow.
func (o *output) file(path string, size uint64) {
	o.p.guestEnded(o.r)
	if !o.open() {
		return
	}
	if o.taken == nil {
		o.taken, o.begun = o.r.spec.NewOutputs(), time.Now()
		o.timer = time.AfterFunc(protocol.OutputsSilence, func() { o.r.cancel(errSlowFiles) })
	}
	header := &protocol.FileHeader{Path: path, Size: size}
	if err := o.taken.Begin(header); err != nil {
		o.blameWorker(err)
		return
	}
	o.append(&protocol.OutputChunk{File: header})
}

// append puts a chunk into the transcript, framed as on its way. The first
// failure, such as a full disk, cancels the replica.
func (o *output) append(chunk *protocol.OutputChunk) {
	o.frame = binary.AppendUvarint(o.frame[:0], uint64(proto.Size(chunk)))
	if o.frame, o.err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(o.frame, chunk); o.err == nil {
		_, o.err = o.to.Write(o.frame)
	}
	if o.err != nil {
		o.r.cancel(fmt.Errorf("its output cannot be kept: %w", o.err))
		return
	}
	if o.timer != nil { // files may neither pause for long nor take too long in all
		o.timer.Reset(min(protocol.OutputsSilence, time.Until(o.begun.Add(o.taken.Allowance()))))
	}
}

// blameWorker cancels a replica whose worker does not keep to its word: it may
// be in the guest's hands.
func (o *output) blameWorker(err error) {
	o.err = protocol.Errorf(protocol.CodeWorker, "the sandbox process cannot be believed: %v", err)
	o.r.cancel(o.err)
}

// open reports whether there is a transcript to write to, and begins it when it
// is the first time.
func (o *output) open() bool {
	if o.to == nil && o.err == nil {
		o.hashes = [2]hash.Hash{sha256.New(), sha256.New()}
		o.to = newTranscript(o.p.cfg.Blobs, maxTranscript(o.r.spec.Limits))
		o.p.mu.Lock()
		o.r.output = o.to
		o.p.stream(o.r)
		o.p.mu.Unlock()
	}
	return o.err == nil
}

// maxTranscript is more than the output that a task's limits allow takes with
// its frames: a byte alone takes six.
func maxTranscript(l *protocol.Limits) int64 {
	return 8*int64(l.OutputBytes+l.FileBytes) + int64(l.Files)*(protocol.MaxPath+64) + 64
}

// finish disposes of the output that was left at the guest's end, and closes
// the books.
func (o *output) finish(end Outcome) error {
	if o.to == nil && o.err == nil && len(end.Stdout)+len(end.Stderr) <= protocol.MaxInline {
		o.inline = [2][]byte{end.Stdout, end.Stderr}
		return nil
	}
	if o.err == nil && o.taken != nil {
		var err error
		if o.files, err = o.taken.Finish(); err == nil && end.Code != "" {
			err = fmt.Errorf("files of a guest that ended by %s", end.Code)
		}
		if err != nil {
			o.blameWorker(err)
		}
	}
	for i, left := range [][]byte{end.Stdout, end.Stderr} {
		if len(left) > 0 {
			o.write(uint32(i)+1, left)
		}
	}
	if o.err == nil {
		o.append(&protocol.OutputChunk{})
	}
	if o.err == nil {
		o.to.end()
	}
	return o.err
}

func (o *output) outcome(end Outcome) *protocol.Outcome {
	blob := func(i int) *protocol.Blob {
		if o.to == nil {
			sum := protocol.DigestOf(o.inline[i])
			return &protocol.Blob{Digest: sum[:], Size: uint64(len(o.inline[i]))}
		}
		return &protocol.Blob{Digest: o.hashes[i].Sum(nil), Size: o.sizes[i]}
	}
	return &protocol.Outcome{
		Streamed: o.to != nil,
		Stdout:   o.inline[0],
		Stderr:   o.inline[1],
		Result: &protocol.Result{
			ExitCode:   end.ExitCode,
			ExitSource: end.Source,
			Code:       string(end.Code),
			Message:    protocol.SafeText(end.Message),
			Stdout:     blob(0),
			Stderr:     blob(1),
			WallUs:     uint64(end.Wall.Microseconds()),
			Gas:        end.Gas,
		},
	}
}

// close ends what the output still does.
func (o *output) close() {
	if o.timer != nil {
		o.timer.Stop()
	}
}
