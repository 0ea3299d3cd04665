package wasi

import (
	"cmp"
	"slices"
)

// Output is a file that the guest left.
type Output struct {
	Path string // absolute and clean, below /out
	Data []byte // not to be written
}

// Outputs returns the regular files below /out, sorted by path, of a guest that
// has ended. A file with several names is there under each, with the same
// bytes. What has a path of more than 4096 bytes, which a guest can make only
// piece by piece, is there without its bytes. The names are a stranger's: valid
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
			list = append(list, Output{below, n.bytes()})
		case kindDir:
			list = outputs(list, below, n)
		}
	}
	return list
}
