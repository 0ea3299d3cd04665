package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/spare-network/spare/protocol"
)

// A task's key is its submission number, so that inserts are sequential, and
// then its ID, so that the index can be read from keys alone.
const taskKeyLen = 8 + protocol.TaskIDLen

func taskKey(seq uint64, id protocol.TaskID) []byte {
	key := make([]byte, 0, taskKeyLen)
	key = binary.BigEndian.AppendUint64(key, seq)
	return append(key, id...)
}

func parseTaskKey(key []byte) (seq uint64, id protocol.TaskID, err error) {
	if len(key) != taskKeyLen || !protocol.ValidIDPrefix(string(key[8:])) {
		return 0, "", fmt.Errorf("key %.40x is no task's", key)
	}
	return binary.BigEndian.Uint64(key), protocol.TaskID(key[8:]), nil
}

// A task's record is its state, the number of blobs that hold its output,
// their digests, and the Task in protobuf, without the list of its files.
const maxOutputs = 3

// encodeTask returns the record of t, and the list of its files as a Result
// that has nothing else, or nil when there are none.
func encodeTask(t *protocol.Task) (record, files []byte, err error) {
	if list := t.GetResult().GetFiles(); len(list) > 0 {
		if files, err = proto.Marshal(&protocol.Result{Files: list}); err != nil {
			return nil, nil, fmt.Errorf("encode files: %w", err)
		}
		t = withoutFiles(t)
	}
	outputs := outputsOf(t)
	header := 2 + len(outputs)*len(protocol.Digest{})
	record = append(make([]byte, 0, header+proto.Size(t)), byte(t.State))
	record, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(appendOutputs(record, outputs), t)
	if err != nil {
		return nil, nil, fmt.Errorf("encode task: %w", err)
	}
	return record, files, nil
}

// withoutFiles returns t but for the list of its files. It shares all else with
// t, and is only to be encoded.
func withoutFiles(t *protocol.Task) *protocol.Task {
	short := &protocol.Task{Result: new(protocol.Result)}
	share(short.ProtoReflect(), t.ProtoReflect(), "result")
	share(short.Result.ProtoReflect(), t.Result.ProtoReflect(), "files")
	return short
}

// share sets the fields of to as they are in from, but for one.
func share(to, from protoreflect.Message, but protoreflect.Name) {
	from.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() != but {
			to.Set(f, v)
		}
		return true
	})
	to.SetUnknown(from.GetUnknown())
}

// outputsOf returns the blobs without which the result of t is not whole.
func outputsOf(t *protocol.Task) []protocol.Digest { return outputsIn(t.GetResult()) }

func outputsIn(r *protocol.Result) (outputs []protocol.Digest) {
	for _, b := range []*protocol.Blob{r.GetStdout(), r.GetStderr(), r.GetPack()} {
		if !b.IsInline() && !b.Sum().IsZero() {
			outputs = append(outputs, b.Sum())
		}
	}
	return outputs
}

// parseHeader reads what the index keeps of a record.
func parseHeader(record []byte) (state protocol.State, outputs []protocol.Digest, body []byte, err error) {
	if len(record) == 0 {
		return 0, nil, nil, errors.New("empty record")
	}
	outputs, body, err = parseOutputs(record[1:])
	return protocol.State(record[0]), outputs, body, err
}

// decodeTask returns the task of a record, without its files.
func decodeTask(record []byte) (*protocol.Task, error) {
	_, _, body, err := parseHeader(record)
	if err != nil {
		return nil, err
	}
	t := new(protocol.Task)
	if err := proto.Unmarshal(body, t); err != nil {
		return nil, fmt.Errorf("task: %w", err)
	}
	return t, nil
}

// decodeFiles puts the list of its files, if there are any, into t.
func decodeFiles(t *protocol.Task, files []byte) error {
	if len(files) > 0 {
		if t.Result == nil {
			return fmt.Errorf("files of a task without a result")
		}
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(files, t.Result); err != nil {
			return fmt.Errorf("files: %w", err)
		}
	}
	if want, n := int(t.GetResult().GetFileCount()), len(t.GetResult().GetFiles()); n != want && want > 0 {
		return fmt.Errorf("%d files are listed of %d", n, want)
	}
	return nil
}

// remembered is a peer that can perhaps be dialled again.
type remembered struct {
	Info peer.AddrInfo `json:"peer"`
	Seen time.Time     `json:"seen"`
}

func encodePeer(r remembered) ([]byte, error) {
	record, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode peer: %w", err)
	}
	return record, nil
}

func decodePeer(record []byte) (r remembered, err error) {
	if err := json.Unmarshal(record, &r); err != nil {
		return remembered{}, fmt.Errorf("peer: %w", err)
	}
	if err := r.Info.ID.Validate(); err != nil {
		return remembered{}, fmt.Errorf("peer: %w", err)
	}
	return r, nil
}
