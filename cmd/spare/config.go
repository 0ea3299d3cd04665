package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/protocol"
)

const (
	configName = "config.toml"
	// maxConfig is far more than anybody writes by hand, in bytes.
	maxConfig = 1 << 20
)

// configFile is config.toml. A key that is not in it has the value that is
// there before it is read.
type configFile struct {
	Sandbox struct {
		Require []string `toml:"require"`
	} `toml:"sandbox"`
	Limits struct {
		Memory        *byteSize `toml:"memory"`
		Output        byteSize  `toml:"output"`
		Wall          wallTime  `toml:"wall"`
		Gas           gasAmount `toml:"gas"`
		FileBytes     byteSize  `toml:"file-bytes"`
		Files         uint32    `toml:"files"`
		Module        byteSize  `toml:"module"`
		Functions     uint64    `toml:"functions"`
		Locals        uint64    `toml:"locals"`
		Body          byteSize  `toml:"body"`
		Nesting       uint64    `toml:"nesting"`
		TableElements uint64    `toml:"table-elements"`
	} `toml:"limits"`
}

// wallTime is a duration such as 1h in a file. It is no integer, so that a
// number without a unit is not taken for nanoseconds.
type wallTime struct{ time.Duration }

// UnmarshalText reads a duration.
func (t *wallTime) UnmarshalText(text []byte) (err error) {
	if t.Duration, err = time.ParseDuration(string(text)); err != nil {
		return errors.New("want a time such as 90s, 30m or 1h")
	}
	return nil
}

// readConfig returns the defaults with what config.toml in the home says, if
// it is there.
func readConfig(h home) (node.Config, error) {
	cfg := node.Default()
	var err error
	if cfg.Home, err = h.path(); err != nil {
		return cfg, err
	}
	path := filepath.Join(cfg.Home, configName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, nil
	}
	var text []byte
	switch {
	case err != nil:
	case !info.Mode().IsRegular() || info.Size() > maxConfig:
		err = fmt.Errorf("%s is no text file of at most %s", path, size(maxConfig))
	default:
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return cfg, protocol.Errorf(protocol.CodeFile, "cannot read the configuration: %v", err)
	}
	if err := applyConfig(&cfg, text); err != nil {
		err.Message = path + ": " + err.Message
		return cfg, err
	}
	return cfg, nil
}

// applyConfig changes cfg to what the text of a config.toml says.
func applyConfig(cfg *node.Config, text []byte) *protocol.Error {
	var f configFile
	l, c := &f.Limits, &cfg.Ceilings
	l.Output, l.Wall.Duration, l.Gas = byteSize(c.OutputBytes), c.Wall, gasAmount(c.Gas)
	l.FileBytes, l.Files = byteSize(c.FileBytes), c.Files
	m := &c.Module
	l.Module, l.Functions, l.Locals = byteSize(m.Bytes), m.Functions, m.Locals
	l.Body, l.Nesting, l.TableElements = byteSize(m.Body), m.Nesting, m.Elements
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		return configError(err)
	}
	cfg.Require = f.Sandbox.Require
	if l.Memory != nil {
		if cfg.MemoryBytes = uint64(*l.Memory); cfg.MemoryBytes == 0 {
			return protocol.Errorf(protocol.CodeConfig, "limits.memory is 0").WithHint("leave it away for as much as fits")
		}
	}
	c.OutputBytes, c.Wall, c.Gas = uint64(l.Output), l.Wall.Duration, uint64(l.Gas)
	c.FileBytes, c.Files = uint64(l.FileBytes), l.Files
	m.Bytes, m.Functions, m.Locals = uint64(l.Module), l.Functions, l.Locals
	m.Body, m.Nesting, m.Elements = uint64(l.Body), l.Nesting, l.TableElements
	var e *protocol.Error
	if err := cfg.Validate(); errors.As(err, &e) {
		return e
	}
	return nil
}

// configError tells the first thing that is wrong with a text, and where.
func configError(err error) *protocol.Error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		e := &missing.Errors[0]
		row, _ := e.Position()
		return protocol.Errorf(protocol.CodeConfig, "line %d: there is no key %s", row, strings.Join(e.Key(), ".")).
			WithHint("[sandbox] has require; [limits] has memory, output, wall, gas, file-bytes, files, module, functions, locals, body, nesting and table-elements")
	}
	const hint = "write sizes as \"4GiB\", gas as \"2T\", times as \"1h\", other limits as numbers, and lists as [\"a\", \"b\"]"
	var e *toml.DecodeError
	if errors.As(err, &e) {
		row, _ := e.Position()
		what := strings.TrimPrefix(e.Error(), "toml: ")
		if key := strings.Join(e.Key(), "."); key != "" {
			what = key + ": " + what
		}
		return protocol.Errorf(protocol.CodeConfig, "line %d: %s", row, what).WithHint(hint)
	}
	return protocol.Errorf(protocol.CodeConfig, "%v", err).WithHint(hint)
}
