package wasi

import (
	"cmp"
	"io"
	"slices"
)

// Output is a file that the guest left.
type Output struct {
	Path string // absolute and clean, below /out
	Size uint64 // in bytes, holes included

	content *content // nil: empty
}

// Open returns a reader of the file's Size bytes. It takes no memory for them,
// so that a file with many holes, or many names, is no larger here than it was
// for its guest. It is for use before the World is reset.
func (o Output) Open() io.Reader { return &reader{content: o.content} }

// reader reads a file from its start.
type reader struct {
	content *content
	offset  uint64
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if r.content == nil || r.offset >= r.content.size {
		return 0, io.EOF
	}
	n := r.content.read(p, r.offset)
	r.offset += uint64(n)
	return n, nil
}

// Outputs returns the regular files below /out, sorted by path, of a guest that
// has ended. A file with several names is there under each, with the same
// bytes. What has a path of more than 4096 bytes, which a guest can make only
// piece by piece, is there as an empty file. The names are a stranger's: valid
// UTF-8 without NUL, and no more.
func (w *World) Outputs() []Output {
	if w.files == nil {
		return nil
	}
	out := w.files.root.names["out"]
	if out == nil {
		return nil
	}
	list := outputs(nil, "/out", out)
	slices.SortFunc(list, func(a, b Output) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// outputs appends the files in the directory at path.
func outputs(list []Output, path string, dir *node) []Output {
	for name, n := range dir.names {
		below := path + "/" + name
		if len(below) > maxPath {
			list = append(list, Output{Path: below})
			continue
		}
		switch n.kind {
		case kindFile:
			list = append(list, Output{Path: below, Size: n.size, content: &n.content})
		case kindDir:
			list = outputs(list, below, n)
		}
	}
	return list
}
