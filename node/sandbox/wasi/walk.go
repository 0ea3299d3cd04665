package wasi

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Limits on paths.
const (
	maxPath   = 4096
	maxName   = 255
	maxFollow = 40 // symbolic links in one path
)

// place is where a path leads: a name in a directory, and what is there.
type place struct {
	dir   *node  // nil for a directory that the path names as "." or ".."
	name  string // empty then
	node  *node  // nil when there is none
	slash bool   // the path ends with a slash, and so means a directory
}

// walk follows a path.
type walk struct {
	w        *World
	root     *node
	followed int
}

// path reads the path of n bytes at address and finds where it leads from the
// directory of the descriptor fd. follow says whether a symbolic link at its
// end is followed.
func (w *World) path(m Memory, fd, address, n uint64, follow bool) (place, error) {
	base, err := w.directory(fd)
	if err != nil {
		return place{}, err
	}
	p, err := w.text(m, address, n)
	if err != nil {
		return place{}, err
	}
	switch {
	case p == "":
		return place{}, ENOENT
	case p[0] == '/':
		return place{}, EPERM
	}
	walk := &walk{w: w, root: w.tree().root}
	return walk.to(base, base, p, follow)
}

// text reads a path, or the target of a symbolic link, of n bytes.
func (w *World) text(m Memory, address, n uint64) (string, error) {
	n = uint64(uint32(n))
	if n > maxPath {
		return "", ENAMETOOLONG
	}
	if err := w.charge(n * pricePathByte); err != nil {
		return "", err
	}
	b, err := view(m, address, n)
	switch {
	case err != nil:
		return "", err
	case !utf8.Valid(b):
		return "", EILSEQ
	case bytes.IndexByte(b, 0) >= 0:
		return "", EINVAL
	}
	return string(b), nil
}

// to follows path from the directory dir. An empty one, which is left of the
// target "/", is the directory. No ".." leads above base, nor above the root.
func (k *walk) to(dir, base *node, path string, follow bool) (place, error) {
	for {
		name, rest, more := strings.Cut(path, "/")
		rest = strings.TrimLeft(rest, "/")
		last := rest == ""
		at, err := k.step(dir, base, name)
		if err != nil {
			return place{}, err
		}
		at.slash = last && more
		if at.node != nil && at.node.kind == kindSymlink && (!last || more || follow) {
			if at, err = k.follow(dir, at.node, last && !more, follow); err != nil {
				return place{}, err
			}
			at.slash = at.slash || last && more
		}
		if last {
			if at.slash && at.node != nil && at.node.kind != kindDir {
				return place{}, ENOTDIR
			}
			return at, nil
		}
		switch {
		case at.node == nil:
			return place{}, ENOENT
		case at.node.kind != kindDir:
			return place{}, ENOTDIR
		}
		dir, path = at.node, rest
	}
}

// step looks up one name in dir.
func (k *walk) step(dir, base *node, name string) (place, error) {
	switch {
	case name == "" || name == ".":
		return place{node: dir}, nil
	case name == "..":
		if dir == base || dir == k.root {
			return place{}, EPERM
		}
		if dir.parent == nil {
			return place{}, ENOENT // it was removed
		}
		return place{node: dir.parent}, nil
	case len(name) > maxName:
		return place{}, ENAMETOOLONG
	}
	return place{dir: dir, name: name, node: dir.names[name]}, nil
}

// follow goes where a symbolic link in dir leads, which may be above the
// directory that the walk began in. An absolute target starts at the guest's
// root, which is all there is.
func (k *walk) follow(dir, link *node, last, followLast bool) (place, error) {
	if k.followed++; k.followed > maxFollow {
		return place{}, ELOOP
	}
	target := link.target
	if err := k.w.charge(uint64(len(target)) * pricePathByte); err != nil {
		return place{}, err
	}
	if strings.HasPrefix(target, "/") {
		dir, target = k.root, strings.TrimLeft(target, "/")
	}
	return k.to(dir, k.root, target, !last || followLast)
}

// change fails unless the entry of p may be made, changed or removed.
func (p *place) change() error {
	switch {
	case p.dir == nil:
		return EINVAL
	case p.dir.readOnly || p.node != nil && p.node.readOnly:
		return EROFS
	case p.dir.links == 0:
		return ENOENT // a directory that was removed takes no entries
	}
	return nil
}
