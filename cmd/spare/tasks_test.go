package main

import (
	"testing"

	"github.com/spare-network/spare/node/api"
)

func TestWhereATaskRan(t *testing.T) {
	for name, c := range map[string]struct {
		states []string // of the attempts at a, b, c…
		want   string
	}{
		"nowhere yet":                      {nil, ""},
		"one that gave the result":         {[]string{"refused", "done", "cancelled"}, "b"},
		"the result, though another runs":  {[]string{"running", "done"}, "b"},
		"one that runs, before a failure":  {[]string{"running", "lost"}, "a"},
		"the last of those that failed":    {[]string{"lost", "refused"}, "b"},
		"the last while it is on its way":  {[]string{"lost", "compiling"}, "b"},
		"the first of two equal that gave": {[]string{"done", "done"}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			var task api.Task
			for i, s := range c.states {
				task.Attempts = append(task.Attempts, api.Attempt{Provider: string(rune('a' + i)), State: s})
			}
			if got := whereOf(&task); got != c.want {
				t.Errorf("where is %q, want %q", got, c.want)
			}
		})
	}
}
