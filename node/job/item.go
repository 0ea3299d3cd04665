package job

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// items reads the items of a job one after another.
type items struct {
	file  *os.File
	lines *bufio.Scanner
	index uint64 // of the item read last
	end   int64  // where that ends in the file
}

// openItems opens items after the index-th, which ends at a place in the file.
func openItems(blobs *store.Blobs, d protocol.Digest, index uint64, end int64) (*items, error) {
	f, _, err := blobs.Open(d)
	if err != nil {
		return nil, err
	}
	it := &items{file: f, lines: bufio.NewScanner(f), index: index, end: end}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		it.close()
		return nil, fmt.Errorf("read items: %w", err)
	}
	it.lines.Buffer(make([]byte, 0, 64<<10), protocol.MaxItem)
	it.lines.Split(func(data []byte, atEOF bool) (advance int, line []byte, err error) {
		advance, line, err = bufio.ScanLines(data, atEOF)
		it.end += int64(advance)
		return advance, line, err
	})
	return it, nil
}

// next returns the line of the next item, which is valid until the call after,
// or io.EOF.
func (it *items) next() ([]byte, error) {
	if !it.lines.Scan() {
		err := it.lines.Err()
		switch {
		case errors.Is(err, bufio.ErrTooLong):
			return nil, protocol.Errorf(protocol.CodeBadRequest, "item %d has more than %d bytes", it.index+1, protocol.MaxItem).
				WithHint("give it what is long as a file or on stdin")
		case err != nil:
			return nil, fmt.Errorf("read items: %w", err)
		}
		return nil, io.EOF
	}
	it.index++
	return it.lines.Bytes(), nil
}

func (it *items) close() { _ = it.file.Close() } // it was only read

// parseItem reads the line of an item.
func parseItem(line []byte, index uint64) (*protocol.Item, error) {
	item := new(protocol.Item)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(item); err != nil {
		return nil, protocol.Errorf(protocol.CodeBadRequest, "item %d cannot be read: %v", index, err)
	}
	return item, nil
}

// specOf returns the task that an item makes of what its job's tasks have in
// common. The blobs that it names must be there.
func specOf(i *protocol.Item, common *protocol.Spec, blobs *store.Blobs) (*protocol.Spec, error) {
	s := &protocol.Spec{
		Module: common.Module, Args: slices.Concat(common.Args, i.Args), Env: common.Env, Stdin: common.Stdin,
		Limits: common.Limits, Profile: common.Profile, Seed: common.Seed, ClockUnixNs: common.ClockUnixNs,
	}
	if len(i.Stdin) > 0 {
		s.Stdin = protocol.NewBlob(i.Stdin)
		if len(i.Stdin) > protocol.MaxInline {
			return nil, protocol.Errorf(protocol.CodeBadRequest, "%d bytes of stdin in the item, at most %d", len(i.Stdin), protocol.MaxInline).
				WithHint("upload them and give the digest")
		}
	}
	if i.StdinDigest != "" {
		var err error
		if s.Stdin, err = find(blobs, i.StdinDigest); err != nil {
			return nil, err
		}
	}
	s.Inputs = slices.Clone(common.Inputs)
	for _, in := range i.Inputs {
		b, err := find(blobs, in.Digest)
		if err != nil {
			return nil, err
		}
		s.Inputs = append(s.Inputs, &protocol.File{Path: in.Path, Blob: b})
	}
	slices.SortFunc(s.Inputs, func(a, b *protocol.File) int { return strings.Compare(a.Path, b.Path) })
	return s, s.Validate()
}

func find(blobs *store.Blobs, digest string) (*protocol.Blob, error) {
	d, err := protocol.ParseDigest(digest)
	if err != nil {
		return nil, err
	}
	size, there := blobs.Size(d)
	if !there {
		return nil, protocol.Errorf(protocol.CodeBlob, "the blob %s is not in this node's store", d.CID()).WithHint("upload it first")
	}
	return &protocol.Blob{Digest: d[:], Size: uint64(size)}, nil
}
