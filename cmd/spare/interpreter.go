package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/spare-network/spare/protocol"
)

const (
	// runtimeDir is where a home keeps the modules that run scripts, called by
	// their digests, and what 'spare runtime add' was told, called by its name.
	runtimeDir = "runtimes"
	// fetchTimeout is far more than the largest module takes anywhere.
	fetchTimeout = 10 * time.Minute
)

// interpreter is what people call a runtime: a module that runs scripts.
type interpreter struct {
	Name   string   `toml:"-" json:"name"`
	Ext    []string `toml:"ext" json:"ext"`       // of the scripts that it runs
	Digest string   `toml:"digest" json:"digest"` // of the module, sha256:HEX
	Source string   `toml:"source" json:"source"` // where it came or will come from: a URL or a path
	Config bool     `toml:"-" json:"config"`      // it is of config.toml, not added
}

var (
	interpreterName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)
	scriptEnding    = regexp.MustCompile(`^\.[a-z0-9_+-]{1,15}$`)
	moduleDigest    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// digestText is how a digest is written, here and in config.toml.
func digestText(b []byte) string { return "sha256:" + protocol.DigestOf(b).String() }

// check returns what is wrong with a part of i, nil if nothing is. A python
// serves .py unless it is told otherwise.
func (i *interpreter) check() *protocol.Error {
	if len(i.Ext) == 0 && i.Name == "python" {
		i.Ext = []string{".py"}
	}
	if !interpreterName.MatchString(i.Name) {
		return protocol.Errorf(protocol.CodeUsage, "a runtime cannot be called %.40q", i.Name).WithHint("use 1 to 32 lower-case letters, digits and any of . _ -")
	}
	if len(i.Ext) == 0 {
		return protocol.Errorf(protocol.CodeUsage, "nothing says which scripts %s runs", i.Name).WithHint("name their ending with --ext, or ext in config.toml, such as .js")
	}
	for _, ending := range i.Ext {
		switch {
		case !scriptEnding.MatchString(ending):
			return protocol.Errorf(protocol.CodeUsage, "%.40q is no ending of scripts", ending).WithHint("an ending is such as .js, in lower case")
		case ending == ".wasm" || slices.Contains(builtEndings(), ending):
			return protocol.Errorf(protocol.CodeUsage, "files that end in %s are no scripts: spare knows what to do with them", ending).WithHint("name another ending")
		}
	}
	if i.Digest != "" && !moduleDigest.MatchString(i.Digest) {
		return protocol.Errorf(protocol.CodeUsage, "%.80q is no digest", i.Digest).WithHint("a digest is sha256: and 64 hexadecimal digits, as 'spare runtime list' and sha256sum have it")
	}
	return nil
}

// readInterpreters reads the sections [runtimes.NAME] of config.toml.
func readInterpreters(section any) (list []*interpreter, bad *protocol.Error) {
	const hint = `write [runtimes.python] and below it source = "URL or path" and digest = "sha256:…", for others than python also ext = [".js"]`
	wrong := func(format string, args ...any) ([]*interpreter, *protocol.Error) {
		return nil, protocol.Errorf(protocol.CodeConfig, format, args...).WithHint(hint)
	}
	named, ok := section.(map[string]any)
	if !ok {
		return wrong("runtimes: wants sections such as [runtimes.python], got %s", described(section))
	}
	serves := make(map[string]string) // names by endings
	for _, name := range slices.Sorted(maps.Keys(named)) {
		where := "runtimes." + protocol.SafeText(name)
		keys, ok := named[name].(map[string]any)
		if !ok {
			return wrong("%s: wants a section, got %s", where, described(named[name]))
		}
		i := &interpreter{Name: name, Config: true}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			wants := "a text"
			switch key {
			case "source":
				i.Source, ok = keys[key].(string)
			case "digest":
				i.Digest, ok = keys[key].(string)
			case "ext":
				wants, ok = `a list such as [".js"]`, setNames(&i.Ext)(keys[key])
			default:
				return wrong("there is no key %s.%s", where, protocol.SafeText(key))
			}
			if !ok {
				return wrong("%s.%s: wants %s, got %s", where, key, wants, described(keys[key]))
			}
		}
		if i.Source == "" || i.Digest == "" {
			return wrong("%s: wants a source and a digest", where)
		}
		if bad := i.check(); bad != nil {
			return nil, protocol.Errorf(protocol.CodeConfig, "%s: %s", where, bad.Message).WithHint("%s", bad.Hint)
		}
		for _, ending := range i.Ext {
			if other := serves[ending]; other != "" && other != name {
				return wrong("%s: runtimes.%s serves %s as well", where, other, ending)
			}
			serves[ending] = name
		}
		list = append(list, i)
	}
	return list, nil
}

// interpreters are those of the home: those of config.toml first, which win.
func interpreters(dir string) ([]*interpreter, error) {
	path, text, err := configText(dir)
	if err != nil {
		return nil, err
	}
	var file map[string]any
	if err := toml.Unmarshal(text, &file); err != nil {
		e := syntaxError(err)
		e.Message = path + ": " + e.Message
		return nil, e
	}
	var list []*interpreter
	if section, ok := file["runtimes"]; ok {
		var bad *protocol.Error
		if list, bad = readInterpreters(section); bad != nil {
			bad.Message = path + ": " + bad.Message
			return nil, bad
		}
	}
	configured := len(list)
	entries, err := os.ReadDir(filepath.Join(dir, runtimeDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot read the runtimes: %v", err)
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".toml")
		if !ok || slices.ContainsFunc(list[:configured], func(i *interpreter) bool { return i.Name == name }) {
			continue
		}
		i := &interpreter{Name: name}
		path := filepath.Join(dir, runtimeDir, entry.Name())
		text, err := os.ReadFile(path)
		if err == nil {
			err = toml.Unmarshal(text, i)
		}
		if err == nil {
			if bad := i.check(); bad != nil {
				err = bad
			}
		}
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", path, err).WithHint("remove it, and add the runtime again")
		}
		list = append(list, i)
	}
	return list, nil
}

// interpreterFor returns what runs scripts of an ending, nil if nothing does.
func interpreterFor(h home, ending string) (*interpreter, error) {
	dir, err := h.path()
	if err != nil {
		return nil, err
	}
	list, err := interpreters(dir)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if slices.Contains(i.Ext, ending) {
			return i, nil
		}
	}
	return nil, nil
}

func noInterpreter(path, ending string) error {
	if ending == ".py" {
		return protocol.Errorf(protocol.CodeRuntime, "%s needs a runtime for .py, which is not there", path).
			WithHint("'spare runtime add python python.wasm', with a CPython built for WASI, makes one")
	}
	if !scriptEnding.MatchString(ending) {
		return protocol.Errorf(protocol.CodeRuntime, "%s is a script, and nothing in its name says of which runtime", path).
			WithHint("give it an ending, such as .py")
	}
	return protocol.Errorf(protocol.CodeRuntime, "%s needs a runtime for %s, which is not there", path, ending).
		WithHint("'spare runtime add NAME FILE.wasm --ext %s' makes one, with an interpreter built for WASI", ending)
}

// program is a script that i runs: the script is its first input, and its path
// the first arg.
func (i *interpreter) program(h home, path string) (*program, error) {
	dir, err := h.path()
	if err != nil {
		return nil, err
	}
	guest := protocol.InputDir + "/" + filepath.Base(path)
	if err := protocol.CheckPath(protocol.InputDir, guest); err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "%q cannot be the path of an input", guest).WithHint("give the script another name")
	}
	return &program{
		name: filepath.Base(path), args: []string{guest}, inputs: []string{path + ":" + guest},
		module: func(ctx context.Context) ([]byte, error) { return i.module(ctx, dir) },
	}, nil
}

// file is where the module is kept in the directory of a home.
func (i *interpreter) file(dir string) string {
	return filepath.Join(dir, runtimeDir, strings.TrimPrefix(i.Digest, "sha256:")+".wasm")
}

// module returns the module, fetched first if config.toml names it and it is not
// there.
func (i *interpreter) module(ctx context.Context, dir string) ([]byte, error) {
	b, err := os.ReadFile(i.file(dir))
	if err == nil && digestText(b) == i.Digest {
		return b, nil
	}
	if !i.Config {
		if err == nil {
			err = fmt.Errorf("%s is no longer what was added, but %s", i.file(dir), digestText(b))
		}
		return nil, protocol.Errorf(protocol.CodeRuntime, "cannot read the runtime %s: %v", i.Name, err).WithHint("'spare runtime add %s FILE.wasm' adds it again", i.Name)
	}
	stop := whileLong(os.Stderr, "fetching the runtime %s from %s", i.Name, i.from())
	defer stop()
	return i.fetch(ctx, dir)
}

// fetch gets the module from its source, makes sure that it is the one wanted,
// and keeps it. Without a digest it learns that of what it gets.
func (i *interpreter) fetch(ctx context.Context, dir string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	failed := func(format string, args ...any) ([]byte, error) {
		return nil, protocol.Errorf(protocol.CodeRuntime, "cannot get the runtime %s from %s: %s", i.Name, i.from(), fmt.Sprintf(format, args...)).
			WithHint("see to its source, or 'spare runtime add %s FILE.wasm' gives it", i.Name)
	}
	from, err := i.open(ctx, dir)
	if err != nil {
		return failed("%v", err)
	}
	defer from.Close()
	b, err := io.ReadAll(io.LimitReader(from, protocol.MaxModule+1))
	switch {
	case err != nil:
		return failed("%v", err)
	case len(b) > protocol.MaxModule:
		return failed("it has more than %s", protocol.SizeText(protocol.MaxModule))
	case !isModule(b):
		return failed("it is no WebAssembly module")
	}
	switch got := digestText(b); i.Digest {
	case "":
		i.Digest = got
	case got:
	default:
		return nil, protocol.Errorf(protocol.CodeRuntime, "the runtime %s is %s, wanted is %s: it came from %s", i.Name, got, i.Digest, i.from()).
			WithHint("do not use it unless you know why it is another")
	}
	if err := writeWhole(i.file(dir), b); err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot keep the runtime %s: %v", i.Name, err).WithHint("see to it that you may write to %s", dir)
	}
	return b, nil
}

// remote returns the source as a URL when it is one to be fetched from.
func (i *interpreter) remote() (*url.URL, bool) {
	u, err := url.Parse(i.Source)
	return u, err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// from names the source without a password that it may have.
func (i *interpreter) from() string {
	if u, ok := i.remote(); ok {
		return u.Redacted()
	}
	return i.Source
}

// open opens the source. Paths are from the home on.
func (i *interpreter) open(ctx context.Context, dir string) (io.ReadCloser, error) {
	u, ok := i.remote()
	if !ok {
		path := i.Source
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil, errors.New("it is not a file")
		}
		return os.Open(path)
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		var failed *url.Error // which has the URL again
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the server says %s", answer.Status), answer.Body.Close())
	}
	return answer.Body, nil
}

// writeWhole writes a file so that it is there with all of its bytes, or not.
func writeWhole(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
