package testnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/spare-network/spare"

// levels orders the rooms. A room imports only rooms of lower levels, so that
// rooms of one level never know each other. Sub-folders belong to their room,
// except those that are rooms of their own here.
var levels = map[string]int{
	"protocol":           0,
	"node/sandbox/meter": 0,
	"node/sandbox/wasi":  0,
	"node/sandbox/jail":  0,
	"market":             1,
	"store":              1,
	"node/mesh/swarm":    1,
	"node/mesh":          2,
	"node/sandbox":       2,
	"node/donor":         2,
	"node/guests":        2,
	"node/data":          3,
	"node/job":           3,
	"node/requester":     3,
	"node/provider":      3,
	"node/api":           3,
	"node":               4,
	"cmd/spare":          5,
	"testnet":            5,
}

// leaves are rooms that only these import.
var leaves = map[string][]string{
	"node/sandbox/meter": {"node/sandbox", "node", "testnet"},
	"node/sandbox/wasi":  {"node/sandbox"},
	"node/sandbox/jail":  {"node/sandbox"},
	"node/mesh/swarm":    {"node/mesh", "node/data", "node"},
}

// owners names the rooms that alone may import an outside library. Testnet may
// import any: its benchmark measures libraries by themselves.
var owners = []struct {
	library string // with the packages below it
	except  string // packages that everybody may import
	rooms   []string
	tests   []string // rooms whose tests may, too
}{
	{"github.com/libp2p/go-libp2p", "github.com/libp2p/go-libp2p/core", []string{"node/mesh"}, nil},
	{"github.com/libp2p/go-libp2p-kad-dht", "", []string{"node/mesh"}, nil},
	{"github.com/libp2p/go-libp2p-pubsub", "", []string{"node/mesh"}, nil},
	{"github.com/ipfs/boxo", "", []string{"node/mesh/swarm"}, nil},
	{"github.com/tetratelabs/wazero", "", []string{"node/sandbox"}, []string{"node/sandbox/meter", "node/sandbox/wasi", "node/sandbox/jail"}},
	{"github.com/landlock-lsm/go-landlock", "", []string{"node/sandbox/jail"}, nil},
	{"github.com/elastic/go-seccomp-bpf", "", []string{"node/sandbox/jail"}, nil},
	{"go.etcd.io/bbolt", "", []string{"store"}, nil},
	{"github.com/danielgtaylor/huma", "", []string{"node/api"}, nil},
	{"github.com/prometheus", "", []string{"node/api", "node/mesh"}, nil},
	{"github.com/pelletier/go-toml", "", []string{"node", "cmd/spare"}, nil},
	{"github.com/spf13/cobra", "", []string{"cmd/spare"}, nil},
}

// logShim joins libp2p's logs to ours; the start of the program calls it.
const logShim = "github.com/libp2p/go-libp2p/gologshim"

// below reports whether path is prefix or lies below it.
func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// roomOf returns the room that a package of this module belongs to, or "".
func roomOf(importPath string) (found string) {
	path := strings.TrimPrefix(strings.TrimPrefix(importPath, modulePath), "/")
	for room := range levels {
		if (path == room || room != "node" && below(path, room)) && len(room) > len(found) {
			found = room
		}
	}
	return found
}

// objection says why a file in the room may not import the package, or "".
func objection(room, imported string, test bool) string {
	if below(imported, modulePath) {
		to := roomOf(imported)
		switch {
		case to == "":
			return "it belongs to no room"
		case to != room && leaves[to] != nil && !slices.Contains(leaves[to], room):
			return "only " + strings.Join(leaves[to], ", ") + " may"
		case to == room || levels[to] < levels[room]:
			return ""
		case levels[to] == levels[room]:
			return "siblings never import siblings"
		default:
			return "imports go down only"
		}
	}
	if room == "testnet" || room == "cmd/spare" && imported == logShim {
		return ""
	}
	for _, o := range owners {
		major := below(imported, o.library) || strings.HasPrefix(imported, o.library+"/v")
		excepted := o.except != "" && below(imported, o.except)
		allowed := slices.Contains(o.rooms, room) || test && slices.Contains(o.tests, room)
		if major && !excepted && !allowed {
			return "only " + strings.Join(o.rooms, ", ") + " may"
		}
	}
	return ""
}

func TestObjection(t *testing.T) {
	for _, test := range []struct {
		room, imported string
		allowed        bool
	}{
		{"node/mesh", modulePath + "/market", true},
		{"node/sandbox", modulePath + "/node/sandbox/jail", true},
		{"node", modulePath + "/node/sandbox/meter", true},
		{"node", modulePath + "/node/sandbox/wasi", false},
		{"node/provider", modulePath + "/node/sandbox/meter", false},
		{"node/sandbox/wasi", modulePath + "/node/sandbox/wasi", true},
		{"node/sandbox/wasi", modulePath + "/node/sandbox/meter", false},
		{"node/sandbox/meter", modulePath + "/protocol", false},
		{"node/sandbox/jail", modulePath + "/node/sandbox", false},
		{"node/sandbox/jail", "github.com/landlock-lsm/go-landlock/landlock", true},
		{"node/sandbox", "github.com/elastic/go-seccomp-bpf/arch", false},
		{"node/api", "github.com/prometheus/client_golang/prometheus", true},
		{"node/sandbox", "github.com/prometheus/client_golang/prometheus", false},
		{"store", "github.com/pelletier/go-toml/v2", false},
		{"market", modulePath + "/protocol", true},
		{"node/api", modulePath + "/node/api/client", true},
		{"cmd/spare", modulePath + "/node", true},
		{"protocol", modulePath + "/market", false},
		{"market", modulePath + "/store", false},
		{"node/provider", modulePath + "/node/requester", false},
		{"node/requester", modulePath + "/node", false},
		{"node", modulePath + "/cmd/spare", false},
		{"node", modulePath + "/node/helpers", false},
		{"node/mesh", "github.com/libp2p/go-libp2p/p2p/muxer/yamux", true},
		{"store", "github.com/libp2p/go-libp2p/core/crypto", true},
		{"store", "github.com/libp2p/go-libp2p", false},
		{"node/api", "go.etcd.io/bbolt", false},
		{"node", "github.com/danielgtaylor/huma/v2", false},
		{"node/provider", "github.com/tetratelabs/wazero/sys", false},
		{"cmd/spare", logShim, true},
		{"store", "os", true},
	} {
		if got := objection(test.room, test.imported, false); (got == "") != test.allowed {
			t.Errorf("%s imports %s: objection %q, want allowed %v", test.room, test.imported, got, test.allowed)
		}
	}
	const engine = "github.com/tetratelabs/wazero"
	if objection("node/sandbox/meter", engine, false) == "" || objection("node/sandbox/meter", engine, true) != "" || objection("node/api", engine, true) == "" {
		t.Error("a leaf of the sandbox may import the engine in its tests, and only there")
	}
}

// goPackage is what this test reads of the answer of go list.
type goPackage struct {
	Dir, ImportPath, Doc, Name                                   string
	GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
}

// sources are all Go files of p, also those for other platforms and tags.
func (p goPackage) sources() []string {
	var all []string
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
		all = append(all, filepath.Join(p.Dir, name))
	}
	return all
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Doc,Name,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("answer of go list: %v", err)
		}
		list = append(list, p)
	}
}

func TestRooms(t *testing.T) {
	for _, p := range listPackages(t) {
		room := roomOf(p.ImportPath)
		if room == "" {
			t.Errorf("%s belongs to no room", p.ImportPath)
			continue
		}
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s does not say what it is for: no package comment", p.ImportPath)
		}
		for _, path := range p.sources() {
			checkFile(t, room, path)
		}
	}
}

func checkFile(t *testing.T, room, path string) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	isTest := strings.HasSuffix(path, "_test.go")
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if why := objection(room, imported, isTest); why != "" {
			t.Errorf("%s imports %s: %s", path, imported, why)
		}
	}
	if ast.IsGenerated(file) {
		return
	}
	most := 500
	if isTest {
		most = 700
	}
	if n := bytes.Count(src, []byte("\n")); n > most {
		t.Errorf("%s has %d lines, at most %d: split it by noun", path, n, most)
	}
	if room == "market" && !isTest {
		checkPure(t, path, file)
	}
}

// checkPure keeps the clock, I/O and goroutines out of a file.
func checkPure(t *testing.T, path string, file *ast.File) {
	t.Helper()
	for _, spec := range file.Imports {
		if p := strings.Trim(spec.Path.Value, `"`); p == "os" || below(p, "net") || p == "io/fs" || p == "log/slog" {
			t.Errorf("%s imports %s: decisions do no I/O", path, p)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine: decisions are plain functions", path)
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick"}, n.Sel.Name) {
				t.Errorf("%s uses time.%s: decisions take now as an argument", path, n.Sel.Name)
			}
		}
		return true
	})
}
