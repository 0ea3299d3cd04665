package sandbox

import (
	"context"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestFailuresAreRememberedForAWhile(t *testing.T) {
	start := time.Unix(1000, 0)
	ended := start.Add(time.Minute)
	a, b := protocol.Digest{1}, protocol.Digest{2}
	late := protocol.Errorf(protocol.CodeWorker, "too late")
	for _, c := range []struct {
		name string
		err  error
		when time.Time
		kept bool
	}{
		{"at once", late, ended, true},
		{"within ten times as long", late, ended.Add(9 * time.Minute), true},
		{"later", late, ended.Add(10 * time.Minute), false},
		{"it worked", nil, ended, false},
		{"the module is at fault", protocol.Errorf(protocol.CodeBadModule, "bad"), ended, false},
		{"nobody waits any longer", context.Canceled, ended, false},
	} {
		var f failures
		f.note(a, c.err, start, ended)
		if got := f.look(a, c.when); (got != nil) != c.kept || f.look(b, c.when) != nil {
			t.Errorf("%s: %v", c.name, got)
		}
		f.note(b, late, ended, ended.Add(time.Hour))
		if len(f.list) != 1 {
			t.Errorf("%s: %d are kept", c.name, len(f.list))
		}
	}
}
