package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spare-network/spare/protocol"
)

// entry is what is kept in memory of a task.
type entry struct {
	seq     uint64 // submission number
	id      protocol.TaskID
	ended   bool
	doomed  bool // to be deleted with the next commit
	going   bool // being deleted: nobody finds it, or may save it again
	outputs []protocol.Digest
}

func (e *entry) key() []byte { return taskKey(e.seq, e.id) }

// index knows every task, or every job, saved or pending. The Store's mu guards
// it.
type index struct {
	noun   string // for people
	byID   map[protocol.TaskID]*entry
	order  []*entry // by seq
	ended  int
	doomed int
	last   uint64 // the largest seq
}

func newIndex(noun string) index {
	return index{noun: noun, byID: make(map[protocol.TaskID]*entry)}
}

// save notes the state of a task and returns its entry and the outputs that it
// had before.
func (x *index) save(id protocol.TaskID, ended bool, outputs []protocol.Digest) (e *entry, before []protocol.Digest) {
	e = x.byID[id]
	if e == nil {
		x.last++
		e = &entry{seq: x.last, id: id}
		x.add(e)
	}
	before = e.outputs
	e.outputs = outputs
	if e.doomed && !ended {
		e.doomed = false
		x.doomed--
	}
	if e.ended != ended {
		e.ended = ended
		if ended {
			x.ended++
		} else {
			x.ended--
		}
	}
	return e, before
}

// add appends an entry, whose seq is the largest so far.
func (x *index) add(e *entry) {
	x.byID[e.id] = e
	x.order = append(x.order, e)
	x.last = e.seq
	if e.ended {
		x.ended++
	}
}

// surplus returns those that are doomed, and the oldest ended tasks of which still
// more than keep are there then.
func (x *index) surplus(keep int) (old []*entry) {
	n, doomed := x.ended-x.doomed-keep, x.doomed
	for _, e := range x.order {
		switch {
		case n <= 0 && doomed == 0:
			return old
		case e.doomed:
			doomed--
		case e.ended && n > 0:
			n--
		default:
			continue
		}
		old = append(old, e)
	}
	return old
}

// endedBut returns the ended tasks but for the newest, so many.
func (x *index) endedBut(keep int) (list []*entry) {
	left := x.ended - keep
	for _, e := range x.order {
		if left <= 0 {
			break
		}
		if e.ended {
			list = append(list, e)
			left--
		}
	}
	return list
}

// doom has those that are there and have ended deleted with the next commit.
func (x *index) doom(entries []*entry) {
	for _, e := range entries {
		if x.byID[e.id] == e && e.ended && !e.doomed {
			e.doomed = true
			x.doomed++
		}
	}
}

// inOrder sorts by seq and leaves away what comes twice.
func inOrder(entries []*entry) []*entry {
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(entries)
}

// remove forgets entries, which are in the order of seq and ended.
func (x *index) remove(entries []*entry) {
	if len(entries) == 0 {
		return
	}
	for _, e := range entries {
		delete(x.byID, e.id)
		if e.doomed {
			x.doomed--
		}
	}
	x.ended -= len(entries)
	i := 0
	x.order = slices.DeleteFunc(x.order, func(e *entry) bool {
		if i < len(entries) && entries[i] == e {
			i++
			return true
		}
		return false
	})
}

// there returns the entry with this ID, or nil when there is none or it is going.
func (x *index) there(id protocol.TaskID) *entry {
	if e := x.byID[id]; e != nil && !e.going {
		return e
	}
	return nil
}

// find returns the only task whose ID begins with prefix.
func (x *index) find(prefix string) (*entry, error) {
	if e := x.there(protocol.TaskID(prefix)); e != nil {
		return e, nil
	}
	var found []*entry
	if protocol.ValidIDPrefix(prefix) {
		for _, e := range x.order {
			if !e.going && strings.HasPrefix(string(e.id), prefix) {
				found = append(found, e)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, protocol.Errorf(protocol.CodeNotFound, "no %s has an ID that begins with %.20q", x.noun, prefix).
			WithHint("'spare ps' lists tasks and jobs")
	case 1:
		return found[0], nil
	}
	return nil, protocol.Errorf(protocol.CodeAmbiguous, "%d %ss have an ID that begins with %s", len(found), x.noun, prefix).
		WithHint("add characters: %s", twoIDs(found))
}

func twoIDs(found []*entry) string { return fmt.Sprintf("%s or %s, say", found[0].id, found[1].id) }

// newest returns up to limit entries before the entry with the ID before, or
// the newest when before is empty; the newest first.
func (x *index) newest(limit int, before protocol.TaskID) ([]*entry, error) {
	end := len(x.order)
	if before != "" {
		e := x.byID[before]
		if e == nil {
			return nil, protocol.Errorf(protocol.CodeNotFound, "there is no %s %.20q to go on from", x.noun, before).
				WithHint("list from the newest again")
		}
		end, _ = slices.BinarySearchFunc(x.order, e.seq, func(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	}
	list := slices.Clone(x.order[max(0, end-max(limit, 0)):end])
	slices.Reverse(list)
	return list, nil
}

// unfinished returns the tasks that have not ended, the oldest first.
func (x *index) unfinished() (list []*entry) {
	for _, e := range x.order {
		if !e.ended {
			list = append(list, e)
		}
	}
	return list
}
