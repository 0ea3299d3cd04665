package wasi

import (
	"cmp"
	"slices"
	"strings"
)

// kind is a WASI file type.
type kind byte

const (
	kindStream  kind = 0 // preview 1 has no pipe; unknown is what is no terminal
	kindDir     kind = 3
	kindFile    kind = 4
	kindSymlink kind = 7
)

// tree is a file system in memory.
type tree struct {
	root    *node
	clock   int64  // time of whatever is made, in nanoseconds since 1970
	made    uint64 // nodes so far
	bytes   uint64 // of files and of targets of symbolic links
	entries uint64 // of directories
	listed  uint64 // in the listings of open directories

	maxBytes, maxEntries uint64
}

// node is a file, a directory or a symbolic link.
type node struct {
	number   uint64
	kind     kind
	readOnly bool
	links    uint64 // directory entries; the root has one, too
	open     int    // descriptors

	accessed, modified, changed int64 // nanoseconds since 1970

	content        // of a file
	target  string // of a symbolic link

	parent *node // of a directory that has not been removed; the root's is itself
	names  map[string]*node
	peak   int // what names had room for
}

// newTree makes the file system that c describes.
func newTree(c *Config) *tree {
	given := [...]string{"in", "out", "tmp"} // beyond what the guest may have
	t := &tree{clock: c.Clock, maxBytes: c.FileBytes, maxEntries: uint64(c.Files) + uint64(len(given))}
	t.root = t.make(kindDir)
	t.root.links, t.root.parent = 1, t.root
	for _, name := range given {
		t.put(t.root, name, t.make(kindDir))
	}
	in := t.root.names["in"]
	inputs := slices.Clone(c.Inputs)
	slices.SortFunc(inputs, func(a, b Input) int { return cmp.Compare(a.Path, b.Path) })
	for i := range inputs {
		t.addInput(in, &inputs[i])
	}
	in.readOnly = true
	return t
}

func (t *tree) addInput(in *node, input *Input) {
	dir, rest := in, strings.TrimPrefix(input.Path, "/in/")
	for {
		name, below, more := strings.Cut(rest, "/")
		if !more {
			break
		}
		d := dir.names[name]
		if d == nil {
			d = t.make(kindDir)
			t.put(dir, name, d)
			d.readOnly = true
		}
		dir, rest = d, below
	}
	f := t.make(kindFile)
	f.readOnly = true
	f.content = contentOf(input.Data)
	t.bytes += f.size
	t.put(dir, rest, f)
}

// make returns a node that is nowhere yet.
func (t *tree) make(k kind) *node {
	t.made++
	return &node{number: t.made, kind: k, accessed: t.clock, modified: t.clock, changed: t.clock}
}

// room fails unless n more bytes, and as many more entries, may be had.
func (t *tree) room(bytes, entries uint64) error {
	if bytes > 0 && (t.bytes > t.maxBytes || bytes > t.maxBytes-t.bytes) {
		return ENOSPC
	}
	if entries > 0 && (t.entries > t.maxEntries || entries > t.maxEntries-t.entries) {
		return ENOSPC
	}
	return nil
}

// put enters n into dir, which has no such name. There must be room.
func (t *tree) put(dir *node, name string, n *node) {
	if dir.names == nil {
		dir.names = make(map[string]*node)
	}
	// A copy, since name may be a small part of a long path.
	dir.names[strings.Clone(name)] = n
	dir.peak = max(dir.peak, len(dir.names))
	t.entries++
	n.links++
	if n.kind == kindDir {
		n.parent = dir
	}
}

// drop removes an entry. What is in it lives on while it has another or is open.
func (t *tree) drop(dir *node, name string) {
	n := dir.names[name]
	dir.forget(name)
	t.entries--
	n.links--
	if n.kind == kindDir {
		n.parent = nil
	}
	t.release(n)
}

// release gives back what a node takes that nobody can reach any more.
func (t *tree) release(n *node) {
	if n.links > 0 || n.open > 0 {
		return
	}
	t.bytes -= n.size + uint64(len(n.target))
	n.content, n.target = content{}, ""
}

// forget removes a name. A map does not shrink, so it is replaced in time.
func (n *node) forget(name string) {
	delete(n.names, name)
	switch {
	case len(n.names) == 0:
		n.names, n.peak = nil, 0
	case 4*len(n.names) < n.peak:
		smaller := make(map[string]*node, len(n.names))
		for k, v := range n.names {
			smaller[k] = v
		}
		n.names, n.peak = smaller, len(smaller)
	}
}
