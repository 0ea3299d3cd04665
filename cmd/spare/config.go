package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

const (
	configName = "config.toml"
	// maxConfig is far more than anybody writes by hand, in bytes.
	maxConfig = 1 << 20
)

// groupKey is the key that a flag can say as well.
const groupKey = "api.socket-group"

// setting is a key that config.toml may have.
type setting struct {
	key   string
	wants string // for people
	set   func(value any) bool
	text  func() string // for people; nil: the node tells itself
}

// settings are all of them, each setting its part of cfg.
func settings(cfg *node.Config) []setting {
	const (
		bytes  = `a size such as "4GiB"`
		number = "a number such as 1000"
	)
	c := &cfg.Ceilings
	m := &c.Module
	return []setting{
		{"sandbox.require", `a list such as ["landlock", "seccomp"]`, setNames(&cfg.Require), func() string { return strings.Join(cfg.Require, ", ") }},
		{"tasks.verify", `"off", "auto" or "strict"`, setVerify(&cfg.Verify), func() string { return cmp.Or(cfg.Verify, protocol.VerifyOff).Word() }},
		{"keep.tasks", number, setCount(&cfg.KeepTasks), numberOf(&cfg.KeepTasks)},
		{"keep.jobs", number, setCount(&cfg.KeepJobs), numberOf(&cfg.KeepJobs)},
		{groupKey, "the name of a group of users", setGroup(&cfg.SocketGroup), func() string { return cfg.SocketGroup }},
		{"limits.memory", bytes, setSize(&cfg.MemoryBytes), nil},
		{"limits.output", bytes, setSize(&c.OutputBytes), sizeOf(&c.OutputBytes)},
		{"limits.wall", `a time such as "90s" or "1h"`, setTime(&c.Wall), func() string { return protocol.TimeText(c.Wall) }},
		{"limits.gas", `an amount of gas such as "500M", 1e9 or "2T"`, setGas(&c.Gas), func() string { return protocol.GasText(c.Gas) }},
		{"limits.file-bytes", bytes, setSize(&c.FileBytes), sizeOf(&c.FileBytes)},
		{"limits.files", number, setNumber(&c.Files), numberOf(&c.Files)},
		{"limits.module", bytes, setSize(&m.Bytes), sizeOf(&m.Bytes)},
		{"limits.functions", number, setNumber(&m.Functions), numberOf(&m.Functions)},
		{"limits.locals", number, setNumber(&m.Locals), numberOf(&m.Locals)},
		{"limits.body", bytes, setSize(&m.Body), sizeOf(&m.Body)},
		{"limits.nesting", number, setNumber(&m.Nesting), numberOf(&m.Nesting)},
		{"limits.table-elements", number, setNumber(&m.Elements), numberOf(&m.Elements)},
		{donor.RuleCPU, `a share such as "50%"`, setRule(cfg, donor.RuleCPU), nil},
		{donor.RuleSlots, "a number of tasks from 1 to 1024", setRule(cfg, donor.RuleSlots), nil},
		{donor.RuleDisk, `a size such as "10GiB", of at least 64 MiB`, setRule(cfg, donor.RuleDisk), nil},
		{donor.RuleIdle, `a time such as "5m", or "no"`, setRule(cfg, donor.RuleIdle), nil},
		{donor.RuleWhen, `windows such as "mon-fri 19:00-07:00, sat, sun"`, setRule(cfg, donor.RuleWhen), nil},
		{donor.RuleBattery, `"pause" or "ignore"`, setRule(cfg, donor.RuleBattery), nil},
		{donor.RuleHot, `"pause" or "ignore"`, setRule(cfg, donor.RuleHot), nil},
		{donor.RuleNet, `bytes per second such as "10MB/s", of at least 4MiB/s, or "all"`, setRule(cfg, donor.RuleNet), nil},
	}
}

func sizeOf(n *uint64) func() string   { return func() string { return protocol.SizeText(*n) } }
func numberOf(n *uint64) func() string { return func() string { return decimal(*n) } }

// setRule takes the text of a rule of donating, or a number.
func setRule(cfg *node.Config, name string) func(any) bool {
	return func(value any) bool {
		text, ok := value.(string)
		if n, isNumber := value.(int64); isNumber {
			text, ok = strconv.FormatInt(n, 10), true
		}
		if _, can := donor.CheckRule(name, text); !ok || !can {
			return false
		}
		if cfg.File == nil {
			cfg.File = make(donor.Rules)
		}
		cfg.File[name] = text
		return true
	}
}

func setNames(to *[]string) func(any) bool {
	return func(value any) bool {
		list, ok := value.([]any)
		*to = nil
		for _, x := range list {
			name, isText := x.(string)
			ok = ok && isText
			*to = append(*to, name)
		}
		return ok
	}
}

func setVerify(to *protocol.Verify) func(any) bool {
	return func(value any) bool {
		word, _ := value.(string)
		var err error
		*to, err = protocol.ParseVerify(word)
		return err == nil
	}
}

func setGroup(to *string) func(any) bool {
	return func(value any) (ok bool) {
		*to, ok = value.(string)
		return ok
	}
}

// setNumber takes any integer: what is beyond its bounds, also by its sign, the
// node says with them.
func setNumber(to *uint64) func(any) bool {
	return func(value any) bool {
		n, ok := value.(int64)
		*to = uint64(n)
		return ok
	}
}

// setCount takes a number that is not 0, which would be the default.
func setCount(to *uint64) func(any) bool {
	return func(value any) bool { return setNumber(to)(value) && *to > 0 }
}

func setSize(to *uint64) func(any) bool { return setText(to, readSize) }

// setGas takes 1e9, too, which is no integer in TOML.
func setGas(to *uint64) func(any) bool {
	return func(value any) bool {
		if v, ok := value.(float64); ok {
			*to = uint64(v)
			return v >= 0 && v < 1<<63 && float64(*to) == v
		}
		return setText(to, readGas)(value)
	}
}

// setText takes a text that read understands, or a number.
func setText(to *uint64, read func(string) (uint64, bool)) func(any) bool {
	return func(value any) (ok bool) {
		text, isText := value.(string)
		if !isText {
			return setNumber(to)(value)
		}
		*to, ok = read(text)
		return ok
	}
}

// setTime takes no number, which would be of whatever unit.
func setTime(to *time.Duration) func(any) bool {
	return func(value any) bool {
		text, _ := value.(string)
		var err error
		*to, err = time.ParseDuration(text)
		return err == nil
	}
}

// readConfig returns the defaults with what config.toml in the home says, if
// it is there.
func readConfig(h home) (node.Config, error) {
	cfg := node.Default()
	var err error
	if cfg.Home, err = h.path(); err != nil {
		return cfg, err
	}
	path, text, err := configText(cfg.Home)
	if err != nil {
		return cfg, err
	}
	if err := applyConfig(&cfg, text); err != nil {
		err.Message = path + ": " + err.Message
		return cfg, err
	}
	return cfg, nil
}

// configText returns the path of config.toml in the directory of a home, and what
// it says: nothing when it is not there.
func configText(dir string) (path string, text []byte, err error) {
	path = filepath.Join(dir, configName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil, nil
	}
	switch {
	case err != nil:
	case !info.Mode().IsRegular() || info.Size() > maxConfig:
		err = fmt.Errorf("%s is no text file of at most %s", path, protocol.SizeText(maxConfig))
	default:
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return path, nil, protocol.Errorf(protocol.CodeFile, "cannot read the configuration: %v", err).
			WithHint("make it a text file that you may read, or move it away")
	}
	return path, text, nil
}

// applyConfig changes cfg to what the text of a config.toml says.
func applyConfig(cfg *node.Config, text []byte) *protocol.Error {
	var file map[string]any
	if err := toml.Unmarshal(text, &file); err != nil {
		return syntaxError(err)
	}
	known, said := settings(cfg), make(map[string]bool)
	for _, section := range slices.Sorted(maps.Keys(file)) {
		if section == "runtimes" { // which are no part of a node
			if _, err := readInterpreters(file[section]); err != nil {
				return err
			}
			continue
		}
		if section == "labels" { // of which keys may have any name
			if err := setLabels(cfg, file[section]); err != nil {
				return err
			}
			continue
		}
		if !slices.ContainsFunc(known, func(s setting) bool { return strings.HasPrefix(s.key, section+".") }) {
			return noKey(section)
		}
		keys, ok := file[section].(map[string]any)
		if !ok {
			return protocol.Errorf(protocol.CodeConfig, "%s: wants a section, which begins with [%[1]s]", section).WithHint(configHint)
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			name := section + "." + key
			i := slices.IndexFunc(known, func(s setting) bool { return s.key == name })
			if i < 0 {
				return noKey(name)
			}
			if value := keys[key]; !known[i].set(value) {
				return protocol.Errorf(protocol.CodeConfig, "%s: wants %s, got %s", name, known[i].wants, described(value)).
					WithHint("'spare up --help' shows how config.toml is written")
			}
			said[name] = true
			if name == "limits.memory" && cfg.MemoryBytes == 0 {
				return protocol.Errorf(protocol.CodeConfig, "limits.memory is 0").WithHint("leave it away for as much as fits")
			}
		}
	}
	var e *protocol.Error
	if err := cfg.Validate(); errors.As(err, &e) {
		return e
	}
	for _, s := range known {
		if s.text != nil {
			origin := donor.FromDefault
			if said[s.key] {
				origin = donor.FromFile
			}
			cfg.Settings = append(cfg.Settings, api.Setting{Key: s.key, Value: s.text(), Origin: origin})
		}
	}
	return nil
}

func noKey(name string) *protocol.Error {
	return protocol.Errorf(protocol.CodeConfig, "there is no key %s", protocol.SafeText(name)).
		WithHint("[donate] has cpu, slots, disk, only-idle, when, on-battery, on-hot and net; [sandbox] has require; [tasks] has verify; [api] has socket-group; [keep] has tasks and jobs; [labels] has whatever you name; [runtimes.NAME] has source, digest and ext; [limits] has memory, output, wall, gas, file-bytes, files, module, functions, locals, body, nesting and table-elements")
}

// described says for people what a value is.
func described(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%.40q", v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	default:
		return "a date or time"
	}
}

const configHint = "write sizes as \"4GiB\", gas as \"2T\", times as \"1h\", other limits as numbers, and lists as [\"a\", \"b\"]"

// syntaxError tells why a text is no TOML.
func syntaxError(err error) *protocol.Error {
	where := ""
	var e *toml.DecodeError
	if errors.As(err, &e) {
		row, _ := e.Position()
		where = fmt.Sprintf(" (line %d)", row)
	}
	return protocol.Errorf(protocol.CodeConfig, "%s%s", strings.TrimPrefix(err.Error(), "toml: "), where).WithHint(configHint)
}
