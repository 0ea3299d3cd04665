package wasi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// PREVIEW1.md has a row for each function, in order, and each of its rows names
// a test that there is and that calls the function.
func TestConformanceTable(t *testing.T) {
	text, err := os.ReadFile("PREVIEW1.md")
	if err != nil {
		t.Fatal(err)
	}
	bodies := testBodies(t)
	var names []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 2 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		if len(cells) != 7 {
			t.Errorf("a row of %d cells: %s", len(cells)-2, line)
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		name, status, test := strings.Trim(cells[1], "`"), cells[2], cells[5]
		names = append(names, name)
		if !slices.Contains([]string{"supported", "virtual", "refused"}, status) {
			t.Errorf("%s is %q", name, status)
		}
		if status != "supported" && cells[3] == "" {
			t.Errorf("%s is %s, and nobody says how", name, status)
		}
		body, found := bodies[test]
		if !found {
			t.Errorf("%s: there is no %s", name, test)
		} else if !strings.Contains(body, `"`+name+`"`) {
			t.Errorf("%s: %s does not call it", name, test)
		}
	}
	var want []string
	for _, f := range functions {
		want = append(want, f.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("the table has %q, want %q", names, want)
	}
}

// testBodies returns the text of each test of the package, with that of the
// helpers through which tests call some functions.
func testBodies(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Split(string(text), "\nfunc ")[1:] {
			name, body, _ := strings.Cut(f, "(")
			if name == "" { // a method
				_, rest, _ := strings.Cut(body, ") ")
				name, body, _ = strings.Cut(rest, "(")
			}
			bodies[name] = body
		}
	}
	for name, body := range bodies {
		for _, helper := range []string{"open", "write", "read", "entries", "statOf", "poll"} {
			if strings.Contains(body, "g."+helper+"(") {
				bodies[name] += bodies[helper]
			}
		}
	}
	return bodies
}
