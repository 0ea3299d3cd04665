package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/spare-network/spare/protocol"
)

// canBuild reports whether what builds files of an ending is installed here.
func canBuild(ctx context.Context, ending string) bool {
	find := clang
	if ending == ".rs" {
		find = rustc
	}
	words, probe, missing := find("probe"+ending, ending)
	return missing == nil && builds(ctx, words, "probe"+ending, probe)
}

// ownSources are programs that say where they were built, if anything does.
func ownSources() map[string]string {
	return map[string]string{
		"main.go":  "package main\n\nimport (\n\t\"runtime\"\n\t\"os\"\n)\n\nfunc main() {\n\t_, file, _, _ := runtime.Caller(0)\n\tprintln(file, len(os.Args))\n}\n",
		"main.c":   "#include <assert.h>\n#include <stdio.h>\nint main(int n, char **v) { assert(n < 3); return puts(v[0]); }\n",
		"main.cpp": "#include <cassert>\n#include <iostream>\nint main(int n, char **) { assert(n < 3); std::cout << __FILE__; }\n",
		"main.rs":  "fn main() { let v: Vec<String> = std::env::args().collect(); println!(\"{} {}\", file!(), v[3]); }\n",
	}
}

// The digest of a module is what a provider knows it by, and what --resume goes
// by: it must not change with the time, or with where it is built.
func TestEqualSourcesMakeEqualModules(t *testing.T) {
	for name, text := range ownSources() {
		t.Run(name, func(t *testing.T) {
			if ending := filepath.Ext(name); ending != ".go" && !canBuild(t.Context(), ending) {
				t.Skipf("what builds %s is not installed", ending)
			}
			var first []byte
			for range 2 {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				p, err := findProgram(home(t.TempDir()), filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if p.name != name || len(p.args)+len(p.inputs) > 0 {
					t.Errorf("it is %+v", p)
				}
				module, err := p.module(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !isModule(module) || bytes.Contains(module, []byte(dir)) {
					t.Errorf("%d bytes that are no module, or tell of %s", len(module), dir)
				}
				if first != nil && !bytes.Equal(first, module) {
					t.Errorf("%d bytes, then %d others", len(first), len(module))
				}
				first = module
			}
		})
	}
}

func TestABuildThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(ownSources()["main.go"]), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := findProgram(home(t.TempDir()), filepath.Join(dir, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if module, err := p.module(ctx); protocol.CodeOf(err) != protocol.CodeBuild {
		t.Errorf("%d bytes, %v", len(module), err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// A compiler whose libraries are missing fails with any program.
func TestAToolchainThatIsNotWhole(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("the compiler is a shell script")
	}
	bin := t.TempDir()
	tool := func(name, text string) string {
		path := filepath.Join(bin, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	broken := tool("broken", "exit 1\n")
	for name, c := range map[string]struct {
		env, value string
		file       string
		code       protocol.Code
	}{
		"a clang without libraries":         {"CLANG_WASI", broken, "main.c", protocol.CodeToolchain},
		"a clang that only fails with this": {"CLANG_WASI", tool("picky", "case \"$*\" in *main.c) exit 1;; esac\nwhile [ \"$1\" != -o ]; do shift; done\nprintf '\\000asm' >\"$2\"\n"), "main.c", protocol.CodeBuild},
		"a rustc without the target":        {"RUSTC", broken, "main.rs", protocol.CodeToolchain},
		"a rustc without the libraries":     {"RUSTC", tool("bare", "echo /nowhere\n"), "main.rs", protocol.CodeToolchain},
		"a clang that is not there":         {"CLANG_WASI", filepath.Join(bin, "none") + " --target=wasm32-wasi", "main.cpp", protocol.CodeToolchain},
		"a go that is too old":              {"PATH", tools(t, tool("go", "[ \"$1\" = env ] && echo go1.19.8 && exit\nexit 2\n")), "main.go", protocol.CodeToolchain},
		"a go that only fails with this":    {"PATH", tools(t, tool("newer", "[ \"$1\" = env ] && echo go1.26.1 && exit\nexit 2\n")), "main.go", protocol.CodeBuild},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c.env, c.value)
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := findProgram(home(t.TempDir()), path)
			if err == nil {
				_, err = p.module(t.Context())
			}
			if protocol.CodeOf(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

// tools returns a PATH on which a program is called go.
func tools(t *testing.T, program string) string {
	dir := t.TempDir()
	if err := os.Symlink(program, filepath.Join(dir, "go")); err != nil {
		t.Fatal(err)
	}
	return dir + string(os.PathListSeparator) + os.Getenv("PATH")
}
