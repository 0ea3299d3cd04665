package jail

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryLayerIsExplained(t *testing.T) {
	b, err := New(t.Context(), Config{Dir: t.TempDir(), Memory: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	var names []string
	for _, l := range b.Layers() {
		names = append(names, l.Name)
		if l.InForce != (l.Why == "") || strings.Contains(l.Why, "\n") {
			t.Errorf("%+v", l)
		}
		if l.InForce != slices.Contains(strings.Split(b.Plan(), ","), l.Name) {
			t.Errorf("%s is in force: %t, but the plan is %s", l.Name, l.InForce, b.Plan())
		}
	}
	if !slices.Equal(names, Names()) {
		t.Errorf("layers %v", names)
	}
	if !slices.Contains(strings.Split(b.Plan(), ","), Process) {
		t.Errorf("workers are no processes of their own: %s", b.Plan())
	}
}

func TestPlanIsChecked(t *testing.T) {
	for _, plan := range []string{"", "process,", "process,magic", "process landlock"} {
		if c, err := Enter(Limits{Plan: plan, Dir: t.TempDir()}); err == nil {
			t.Errorf("with plan %q: %+v", plan, c)
		}
	}
}
