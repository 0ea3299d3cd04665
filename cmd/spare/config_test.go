package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

func TestConfigFile(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		change func(*node.Config)
	}{
		"nothing":        {"", func(*node.Config) {}},
		"empty sections": {"[sandbox]\n[limits]\n", func(*node.Config) {}},
		"layers":         {"[sandbox]\nrequire = ['seccomp', \"landlock\"]", func(c *node.Config) { c.Require = []string{"seccomp", "landlock"} }},
		"every limit": {
			"limits = { memory = '2GiB', output = '1MB', wall = '90s', gas = '5G', file-bytes = 7, files = 8, module = '1MiB'," +
				"functions = 9, locals = 10, body = '2KiB', nesting = 11, table-elements = 12 }",
			func(c *node.Config) {
				c.MemoryBytes = 2 << 30
				l := &c.Ceilings
				l.OutputBytes, l.Wall, l.Gas, l.FileBytes, l.Files = 1_000_000, 90*time.Second, 5e9, 7, 8
				m := &l.Module
				m.Bytes, m.Functions, m.Locals, m.Body, m.Nesting, m.Elements = 1<<20, 9, 10, 2<<10, 11, 12
			},
		},
		"what is kept":      {"[keep]\ntasks = 500\njobs = 7", func(c *node.Config) { c.KeepTasks, c.KeepJobs = 500, 7 }},
		"a number of bytes": {"[limits]\nmemory = 65536", func(c *node.Config) { c.MemoryBytes = 65536 }},
		"donating": {
			"[donate]\ncpu = '50%'\nslots = 2\nonly-idle = 'no'\nwhen = 'sat, sun'\ndisk = '1GiB'\non-battery = 'ignore'",
			func(c *node.Config) {
				c.File = donor.Rules{
					"donate.cpu": "50%", "donate.slots": "2", "donate.only-idle": "no", "donate.when": "sat, sun",
					"donate.disk": "1GiB", "donate.on-battery": "ignore",
				}
			},
		},
		"gas as a number":      {"[limits]\ngas = 1_000", func(c *node.Config) { c.Ceilings.Gas = 1000 }},
		"gas with an exponent": {"[limits]\ngas = 1e9", func(c *node.Config) { c.Ceilings.Gas = 1e9 }},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := node.Default(), node.Default()
			c.change(&want)
			if err := applyConfig(&got, []byte(c.text)); err != nil {
				t.Fatal(err)
			}
			got.Settings = nil // which the command says, and its transcript shows
			if !reflect.DeepEqual(got, want) {
				t.Errorf("it says %+v, want %+v", got, want)
			}
		})
	}
}

func TestConfigThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no TOML":                    {"[limits\n", "(line 1)"},
		"an unknown key":             {"\n[limits]\nmemroy = 1\n", "there is no key limits.memroy"},
		"nothing kept":               {"[keep]\njobs = 0\n", "keep.jobs: wants a number such as 1000, got the number 0"},
		"less than nothing kept":     {"[keep]\ntasks = -1\n", "keep.tasks is -1; it can be 1 to 1000000"},
		"an unknown section":         {"[sandbox]\nrequire = []\n[sandpit]\na = 1\n", "there is no key sandpit"},
		"a key of no section":        {"memory = '1GiB'\n", "there is no key memory"},
		"a dot in a key":             {"'limits.memory' = '1GiB'\n", "there is no key limits.memory"},
		"a key twice":                {"[limits]\nfiles = 1\nfiles = 2\n", "key files is already defined"},
		"text for a number":          {"[limits]\nfiles = 'many'\n", `limits.files: wants a number such as 1000, got "many"`},
		"a share beyond all":         {"[donate]\ncpu = '101%'\n", `donate.cpu: wants a share such as "50%", got "101%"`},
		"a day that is none":         {"[donate]\nwhen = 'someday'\n", `donate.when: wants windows such as "mon-fri 19:00-07:00, sat, sun", got "someday"`},
		"idle or not":                {"[donate]\nonly-idle = true\n", `donate.only-idle: wants a time such as "5m", or "no", got true`},
		"a list for text":            {"[limits]\nmemory = []\n", `limits.memory: wants a size such as "4GiB", got a list`},
		"a truth for text":           {"# mine\n[limits]\nmemory = true\n", `limits.memory: wants a size such as "4GiB", got true`},
		"a date for text":            {"limits.memory = 1979-05-27\n", `limits.memory: wants a size such as "4GiB", got a date or time`},
		"a table for text":           {"[limits]\nmemory = { a = 1 }\n", `limits.memory: wants a size such as "4GiB", got a section`},
		"half a byte":                {"[limits]\nmemory = 1.5\n", `limits.memory: wants a size such as "4GiB", got the number 1.5`},
		"within an inline table":     {"limits = { files = 7, wall = 60 }\n", `limits.wall: wants a time such as "90s" or "1h", got the number 60`},
		"a way that is none":         {"[tasks]\nverify = 'maybe'\n", `tasks.verify: wants "off", "auto" or "strict", got "maybe"`},
		"text for a list":            {"[sandbox]\nrequire = 'seccomp'\n", `sandbox.require: wants a list such as ["landlock", "seccomp"], got "seccomp"`},
		"numbers for layers":         {"[sandbox]\nrequire = [1]\n", "sandbox.require: wants a list such as"},
		"a number for a section":     {"limits = 3\n", "limits: wants a section, which begins with [limits]"},
		"sections for a section":     {"[[limits]]\nmemory = 1\n", "limits: wants a section, which begins with [limits]"},
		"a section for a number":     {"[limits.files]\na = 1\n", "limits.files: wants a number such as 1000, got a section"},
		"a size that is none":        {"[limits]\nmemory = 'lots'\n", `limits.memory: wants a size such as "4GiB", got "lots"`},
		"gas that is none":           {"[limits]\ngas = 'lots'\n", `limits.gas: wants an amount of gas such as "500M", 1e9 or "2T", got "lots"`},
		"gas of a fraction":          {"[limits]\ngas = 1.5\n", "got the number 1.5"},
		"gas without end":            {"[limits]\ngas = inf\n", "got the number +Inf"},
		"gas that is no number":      {"[limits]\ngas = nan\n", "got the number NaN"},
		"a time without a unit":      {"[limits]\nwall = 60\n", `limits.wall: wants a time such as "90s" or "1h", got the number 60`},
		"a negative number":          {"[limits]\nfiles = -1\n", "limits.files is -1; it can be 1 to 16384"},
		"a negative size":            {"[limits]\nmemory = -1\n", "limits.memory is -1; it can be 64 KiB to 4 GiB"},
		"a number beyond its type":   {"[limits]\nfiles = 99999999999\n", "limits.files is 99999999999; it can be 1 to 16384"},
		"no memory":                  {"[limits]\nmemory = 0\n", "limits.memory is 0"},
		"too little memory":          {"[limits]\nmemory = '1KiB'\n", "limits.memory is 1 KiB; it can be 64 KiB to 4 GiB"},
		"more memory than there is":  {"[limits]\nmemory = '5GiB'\n", "limits.memory is 5 GiB; it can be 64 KiB to 4 GiB"},
		"no gas":                     {"[limits]\ngas = 0\n", "limits.gas is 0; it can be 1 to 1.15 E"},
		"more gas than the profile":  {"[limits]\ngas = '2000P'\n", "limits.gas is 2 E; it can be "},
		"no time":                    {"[limits]\nwall = '0s'\n", "limits.wall is 0s; it can be 1ms to 168h"},
		"time that runs backwards":   {"[limits]\nwall = '-1h'\n", "limits.wall is -1h; it can be 1ms to 168h"},
		"a large module":             {"[limits]\nmodule = '1GiB'\n", "limits.module is 1 GiB; it can be 8 B to 128 MiB"},
		"deeper than the profile":    {"[limits]\nnesting = 1000000\n", "limits.nesting is 1000000; it can be 1 to "},
		"tables beyond the profile":  {"[limits]\ntable-elements = 99999999\n", "limits.table-elements is 99999999; it can be 0 to "},
		"output beyond the protocol": {"[limits]\noutput = '2GiB'\n", "limits.output is 2 GiB; it can be 1 B to 1 GiB"},
		"a layer that is none":       {"[sandbox]\nrequire = ['moat']\n", `sandbox.require: there is no layer "moat"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := node.Default()
			err := applyConfig(&cfg, []byte(c.text))
			if err == nil {
				t.Fatalf("it says %+v", cfg)
			}
			if err.Code != protocol.CodeConfig || !strings.Contains(err.Message, c.want) || strings.Contains(err.Message, "struct") || err.Hint == "" {
				t.Errorf("the error is %v, want %q and a hint", err, c.want)
			}
		})
	}
}

// Each key says what it wants to each kind of value that it is not, in words for
// people and not in those of the program.
func TestConfigOfEachWrongType(t *testing.T) {
	wrong := map[string]string{
		"true": "got true", "1.5": "got the number 1.5", "'nonsense'": `got "nonsense"`, "1979-05-27": "got a date or time",
		"07:32:00": "got a date or time", "[1]": "got a list", "[[]]": "got a list", "{ a = 1 }": "got a section",
	}
	programs := []string{"struct", "int64", "float64", "map[", "interface", "nmarshal", "decode", "Duration", "strconv", "parse", "%!"}
	cfg := node.Default()
	for _, key := range settings(&cfg) {
		for value, got := range wrong {
			if key.key == "api.socket-group" && value == "'nonsense'" {
				continue // which a group may be called
			}
			cfg := node.Default()
			err := applyConfig(&cfg, []byte(key.key+" = "+value+"\n"))
			if err == nil {
				t.Errorf("%s may be %s", key.key, value)
				continue
			}
			if want := key.key + ": wants " + key.wants + ", " + got; err.Message != want || err.Code != protocol.CodeConfig || err.Hint == "" {
				t.Errorf("%s = %s: %v, want %q and a hint", key.key, value, err, want)
			}
		}
	}
	for name, text := range map[string]string{
		"a number without end":    "[limits]\nfiles = 99999999999999999999999\n",
		"a text without an end":   "[donate]\ncpu = '50%\n",
		"no value":                "[donate]\ncpu =\n",
		"no key":                  "[donate]\n= '50%'\n",
		"two on a line":           "[donate]\ncpu = '50%' slots = 2\n",
		"a section twice":         "[donate]\n[donate]\n",
		"a section and a key":     "donate = 1\n[donate]\ncpu = 1\n",
		"no text at all":          "\xff\xfe\x00",
		"a byte that is no UTF-8": "[donate]\nwhen = '\xff'\n",
		"an escape of nothing":    "[donate]\nwhen = \"\\z\"\n",
		"a date of nobody":        "[donate]\nwhen = 1979-13-41\n",
		"yaml":                    "donate:\n  cpu: 50%\n",
	} {
		cfg := node.Default()
		err := applyConfig(&cfg, []byte(text))
		if err == nil || err.Code != protocol.CodeConfig || err.Hint == "" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: %s", name, err.Message)
		if i := slices.IndexFunc(programs, func(word string) bool { return strings.Contains(err.Message, word) }); i >= 0 {
			t.Errorf("%s: the message says %q: %s", name, programs[i], err.Message)
		}
	}
}

func TestConfigIsReadFromTheHome(t *testing.T) {
	dir := t.TempDir()
	if cfg, err := readConfig(home(dir)); err != nil || cfg.Home != dir || !reflect.DeepEqual(cfg.Ceilings, node.Default().Ceilings) {
		t.Errorf("without a file: %+v, %v", cfg, err)
	}
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, []byte("[limits]\nfiles = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := readConfig(home(dir)); err != nil || cfg.Ceilings.Files != 3 {
		t.Errorf("with one: %+v, %v", cfg, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(home(dir)); protocol.CodeOf(err) != protocol.CodeFile {
		t.Errorf("with a directory of its name: %v", err)
	}
}
