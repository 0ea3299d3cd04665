package api

import (
	"strings"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestWordsThatAProgramCannotBeGiven(t *testing.T) {
	long := strings.Repeat("a", protocol.MaxArgBytes)
	for name, c := range map[string]struct {
		in   Submission
		want string // of the error, or empty
	}{
		"none":                    {Submission{}, ""},
		"the most args":           {Submission{Name: "p", Args: make([]string, protocol.MaxArgs-1)}, ""},
		"too many args":           {Submission{Args: make([]string, 5000)}, "5000 args, a program gets at most 4095"},
		"the longest arg":         {Submission{Name: "p", Args: []string{long[:len(long)-3]}}, ""},
		"one byte more":           {Submission{Name: "p", Args: []string{long[:len(long)-2]}}, "98305 bytes of args, a program gets at most 98304"},
		"too many variables":      {Submission{Env: make([]string, 5000)}, "5000 variables of the environment, a program gets at most 4096"},
		"a variable that is long": {Submission{Env: []string{"A=" + long}}, "98307 bytes of variables of the environment, a program gets at most 98304"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.in.CheckWords()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if protocol.CodeOf(err) != protocol.CodeUsage || !strings.Contains(err.Error(), c.want+"; give ") {
				t.Errorf("the error is %v, want %q and a hint", err, c.want)
			}
		})
	}
}

func TestOneProviderAloneVerifiesNothing(t *testing.T) {
	for _, word := range []string{"auto", "strict"} {
		_, err := new(Server).terms(&Terms{On: "12D3", Verify: word})
		if protocol.CodeOf(err) != protocol.CodeBadRequest || !strings.Contains(err.Error(), "on and verify "+word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}
