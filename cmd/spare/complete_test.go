package main

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryArgumentIsCompleted holds that a command's usage calls its arguments by
// words that completion knows.
func TestEveryArgumentIsCompleted(t *testing.T) {
	free := []string{"NAME", "SHELL"} // whatever the user makes up, or the command's own
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		for n := range 3 {
			name := argument(cmd, n)
			if name != "" && !isFile(name) && wordsOf(cmd, name) == nil && !slices.Contains(free, name) {
				t.Errorf("'%s' takes %q, which nothing completes", cmd.CommandPath(), name)
			}
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}

func TestArgument(t *testing.T) {
	for _, test := range []struct {
		use  string
		n    int
		want string
	}{
		{"doctor", 0, ""},
		{"ping PEER", 0, "PEER"},
		{"ping PEER", 1, ""},
		{"why [TASK]", 0, "TASK"},
		{"prune ID... | --older-than TIME | --all", 3, "ID"},
		{"rerun JOB | JOB/TASKS", 0, "JOB"},
		{"get TASK -O DIR [PATH...] | get CID", 0, "TASK"},
		{"run [flags] PROGRAM [-- ARG...]", 0, "PROGRAM"},
		{"run [flags] PROGRAM [-- ARG...]", 1, ""},
		{"runtime add NAME FILE|URL", 1, "FILE|URL"},
	} {
		if got := argument(&cobra.Command{Use: test.use}, test.n); got != test.want {
			t.Errorf("argument %d of %q is %q, want %q", test.n, test.use, got, test.want)
		}
	}
}
