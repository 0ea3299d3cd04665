package protocol

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParseLabel(t *testing.T) {
	for _, c := range []struct {
		text, key, value string // key empty: it is none
	}{
		{"site=berlin", "site", "berlin"},
		{"gpu=no", "gpu", "no"},
		{"a.b_c-9=X.y_Z-0", "a.b_c-9", "X.y_Z-0"},
		{"n=1", "n", "1"},
		{strings.Repeat("k", 32) + "=" + strings.Repeat("v", 32), strings.Repeat("k", 32), strings.Repeat("v", 32)},
		{strings.Repeat("k", 33) + "=v", "", ""},
		{"k=" + strings.Repeat("v", 33), "", ""},
		{"", "", ""},
		{"site", "", ""},
		{"site=", "", ""},
		{"=berlin", "", ""},
		{"Site=berlin", "", ""},
		{"9=a", "", ""},
		{"-a=b", "", ""},
		{"a=-b", "", ""},
		{"a=.b", "", ""},
		{"a!=b", "", ""},
		{"a=b=c", "", ""},
		{"a=b c", "", ""},
		{"a=b\n", "", ""},
		{"a=\x1b[31m", "", ""},
		{"a=é", "", ""},
		{"a=<img>", "", ""},
	} {
		key, value, err := ParseLabel(c.text)
		if (err == nil) != (c.key != "") || err == nil && (key != c.key || value != c.value) {
			t.Errorf("%q is %q=%q, %v; want %q=%q", c.text, key, value, err, c.key, c.value)
		}
		if err != nil && CodeOf(err) != CodeBadRequest {
			t.Errorf("%q fails with %v", c.text, err)
		}
	}
}

func TestWishes(t *testing.T) {
	labels := map[string]string{"site": "berlin", "gpu": "no"}
	for _, c := range []struct {
		text string
		met  bool
	}{
		{"site=berlin", true},
		{"site=paris", false},
		{"site=Berlin", false},
		{"rack=a", false},
		{"site!=paris", true},
		{"site!=berlin", false},
		{"rack!=a", true},
		{"gpu", true},
		{"rack", false},
	} {
		w, err := ParseWish(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if w.Met(labels) != c.met {
			t.Errorf("%s is met: %v, want %v", c.text, !c.met, c.met)
		}
		if w.String() != c.text {
			t.Errorf("%s is written as %s", c.text, w)
		}
	}
	for _, text := range []string{"", "=", "!=", "a!", "a=", "a!=", "A=b", "a==b", "a=b,c=d", "!a", "a=b\x00", "a<b"} {
		if w, err := ParseWish(text); err == nil || CodeOf(err) != CodeBadRequest {
			t.Errorf("%q is the wish %v, %v", text, w, err)
		}
	}
	if _, err := ParseWishes(slices.Repeat([]string{"a=b"}, MaxWishes+1)); err == nil {
		t.Error("too many wishes are taken")
	}
	if list, err := ParseWishes(nil); err != nil || list != nil {
		t.Errorf("no wishes are %v, %v", list, err)
	}
}

func TestValidateLabels(t *testing.T) {
	most := make(map[string]string)
	for i := range MaxLabels {
		most[fmt.Sprintf("key%d", i)] = strings.Repeat("v", MaxLabelValue)
	}
	if err := ValidateLabels(most); err != nil {
		t.Error(err)
	}
	if err := ValidateLabels(nil); err != nil {
		t.Error(err)
	}
	more := maps.Clone(most)
	more["onemore"] = "v"
	for _, bad := range []map[string]string{more, {"": "a"}, {"a": ""}, {"a b": "c"}, {"a": "\x1b[2J"}, {"a=b": "c"}, {strings.Repeat("a", 33): "b"}} {
		if err := ValidateLabels(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q is taken: %v", bad, err)
		}
	}
}

// FuzzParseWish has whatever is taken be written as it was read, and checks that
// what a label is and what may be wished for are the same.
func FuzzParseWish(f *testing.F) {
	for _, text := range []string{"site=berlin", "site!=berlin", "site", "a.b_c-9=X", "=", "a==b", "é=x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWish(text)
		key, value, noLabel := ParseLabel(text)
		if err != nil {
			if noLabel == nil {
				t.Fatalf("%q is a label and cannot be wished for", text)
			}
			return
		}
		if w.String() != text || SafeText(text) != text || len(text) > MaxLabelKey+MaxLabelValue+2 {
			t.Fatalf("%q is the wish %q", text, w)
		}
		if noLabel == nil && (w.Not || !w.Met(map[string]string{key: value})) {
			t.Fatalf("the label %q does not meet the wish", text)
		}
	})
}
