package wasi

// flagFollow is the only flag of lookups: follow a symbolic link at the end.
const flagFollow = 1

func (w *World) pathCreateDirectory(m Memory, a []uint64) error {
	at, err := w.path(m, a[0], a[1], a[2], false)
	if err != nil {
		return err
	}
	_, err = w.create(&at, kindDir, 0)
	return err
}

// create makes a node of kind k where there must be none. It takes bytes.
func (w *World) create(at *place, k kind, bytes uint64) (*node, error) {
	if at.node != nil {
		return nil, EEXIST
	}
	if err := at.change(); err != nil {
		return nil, err
	}
	t := w.tree()
	if err := t.room(bytes, 1); err != nil {
		return nil, err
	}
	if err := w.charge(priceFile); err != nil {
		return nil, err
	}
	n := t.make(k)
	t.put(at.dir, at.name, n)
	t.bytes += bytes
	return n, nil
}

func (w *World) pathSymlink(m Memory, a []uint64) error {
	target, err := w.text(m, a[0], a[1])
	if err != nil {
		return err
	}
	if target == "" {
		return ENOENT
	}
	at, err := w.path(m, a[2], a[3], a[4], false)
	if err != nil {
		return err
	}
	if at.slash && at.node == nil {
		return ENOENT
	}
	n, err := w.create(&at, kindSymlink, uint64(len(target)))
	if err == nil {
		n.target = target
	}
	return err
}

func (w *World) pathReadlink(m Memory, a []uint64) error {
	at, err := w.path(m, a[0], a[1], a[2], false)
	switch {
	case err != nil:
		return err
	case at.node == nil:
		return ENOENT
	case at.node.kind != kindSymlink:
		return EINVAL
	}
	room := uint64(uint32(a[4]))
	b, err := view(m, a[3], room)
	if err != nil {
		return err
	}
	// Preview 1 leaves open what a short buffer gets. POSIX cuts the target,
	// and wasi-libc and Go see from a full buffer that there may be more.
	n := min(room, uint64(len(at.node.target)))
	if err := w.chargeCopy(n); err != nil {
		return err
	}
	if err := put32(m, a[5], uint32(n)); err != nil {
		return err
	}
	copy(b, at.node.target)
	return nil
}

func (w *World) pathLink(m Memory, a []uint64) error {
	from, err := w.path(m, a[0], a[2], a[3], a[1]&flagFollow != 0)
	if err != nil {
		return err
	}
	to, err := w.path(m, a[4], a[5], a[6], false)
	switch {
	case err != nil:
		return err
	case from.node == nil:
		return ENOENT
	case from.node.kind == kindDir:
		return EPERM
	case to.node != nil:
		return EEXIST
	case to.slash:
		return ENOENT
	}
	if err := to.change(); err != nil {
		return err
	}
	if from.node.readOnly {
		return EXDEV // so that a program copies it
	}
	t := w.tree()
	if err := t.room(0, 1); err != nil {
		return err
	}
	if err := w.charge(priceFile); err != nil {
		return err
	}
	t.put(to.dir, to.name, from.node)
	return nil
}

func (w *World) pathUnlinkFile(m Memory, a []uint64) error {
	at, err := w.path(m, a[0], a[1], a[2], false)
	switch {
	case err != nil:
		return err
	case at.node == nil:
		return ENOENT
	case at.node.kind == kindDir:
		return EISDIR
	case at.slash:
		return ENOTDIR
	}
	if err := at.change(); err != nil {
		return err
	}
	w.tree().drop(at.dir, at.name)
	return nil
}

func (w *World) pathRemoveDirectory(m Memory, a []uint64) error {
	at, err := w.path(m, a[0], a[1], a[2], false)
	switch {
	case err != nil:
		return err
	case at.node == nil:
		return ENOENT
	case at.node.kind != kindDir:
		return ENOTDIR
	}
	if err := at.change(); err != nil {
		return err
	}
	if len(at.node.names) > 0 {
		return ENOTEMPTY
	}
	w.tree().drop(at.dir, at.name)
	return nil
}

func (w *World) pathRename(m Memory, a []uint64) error {
	from, err := w.path(m, a[0], a[1], a[2], false)
	if err != nil {
		return err
	}
	to, err := w.path(m, a[3], a[4], a[5], false)
	if err != nil {
		return err
	}
	if from.node == nil {
		return ENOENT
	}
	if err := from.change(); err != nil {
		return err
	}
	if err := to.change(); err != nil {
		return err
	}
	isDir := from.node.kind == kindDir
	switch {
	case !isDir && (from.slash || to.slash):
		return ENOTDIR
	case from.node == to.node:
		return nil // POSIX: two names of one file stay
	case to.node == nil:
	case isDir && to.node.kind != kindDir:
		return ENOTDIR
	case !isDir && to.node.kind == kindDir:
		return EISDIR
	case len(to.node.names) > 0:
		return ENOTEMPTY
	}
	if isDir {
		if err := w.outside(from.node, to.dir); err != nil {
			return err
		}
	}
	if err := w.charge(priceFile); err != nil {
		return err
	}
	t := w.tree()
	if to.node != nil {
		t.drop(to.dir, to.name)
	}
	t.put(to.dir, to.name, from.node)
	from.dir.forget(from.name)
	t.entries--
	from.node.links--
	return nil
}

// outside fails when dir is n or within it.
func (w *World) outside(n, dir *node) error {
	for root := w.tree().root; dir != root; dir = dir.parent {
		if dir == n {
			return EINVAL
		}
		if err := w.charge(priceStep); err != nil {
			return err
		}
	}
	return nil
}
