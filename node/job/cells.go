package job

import "github.com/spare-network/spare/protocol"

// cell is how a task of a job stands, in one letter.
type cell byte

const (
	waits     cell = 'w'
	underWay  cell = 'r'
	passed    cell = 'p'
	failedBy  cell = 'f' // its program
	broken    cell = 's' // by spare
	cancelled cell = 'c'
)

func cellOf(one *protocol.JobResult) cell {
	r := one.Result
	switch {
	case one.Passed():
		return passed
	case one.Cancelled():
		return cancelled
	case r.GetExitSource() == protocol.FromSystem && !protocol.Code(r.GetCode()).EndsGuest():
		return broken
	default:
		return failedBy
	}
}

// Cells returns a letter for each of at most most tasks of a job, from the one
// with a number on, and how many tasks it has.
func (j *Jobs) Cells(prefix string, from uint64, most int) (cells []byte, of uint64, err error) {
	record, err := j.Job(prefix)
	if err != nil {
		return nil, 0, err
	}
	from = max(from, 1)
	if from > record.Tasks {
		return nil, record.Tasks, nil
	}
	last := min(record.Tasks, from+uint64(most)-1)
	cells = make([]byte, 0, last-from+1)
	rest := waits
	if record.Ended() {
		rest = cancelled // as a list of tasks has those that were not run
	}
	// Before results are read: what lands meanwhile has one.
	flying := j.flying(protocol.TaskID(record.Id))
	l := &j.lookup
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readOn(record, j.cfg.Store); err != nil {
		return nil, 0, err
	}
	for i := from; i <= last; i++ {
		end := l.cells[i]
		switch {
		case end != 0 && !record.StaleAt(uint64(l.numbers[i]), i, end == passed):
		case flying[i]:
			end = underWay
		default:
			end = rest
		}
		cells = append(cells, byte(end))
	}
	return cells, record.Tasks, nil
}

// flying returns the tasks of a job that are under way.
func (j *Jobs) flying(id protocol.TaskID) map[uint64]bool {
	r := j.running(id)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make(map[uint64]bool, len(r.flights))
	for i := range r.flights {
		list[i] = true
	}
	return list
}
