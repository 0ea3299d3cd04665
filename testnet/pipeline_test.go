//go:build e2e && unix

package testnet

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const summarize = `
import collections, json, os, sys
text = open("/in/text").read()
if not text.isascii():
    sys.exit("there is no such word: " + ascii(text))
words = collections.Counter(text.split())
with open("/out/" + os.path.basename(sys.argv[1]) + ".json", "w") as out:
    json.dump(dict(sorted(words.items())), out)
print(sys.argv[1], sum(words.values()))
`

// TestE2EPipelinePython counts the words of 200 files in folders with CPython, a
// task each. One of them cannot be read at first; mended, it alone is run again.
func TestE2EPipelinePython(t *testing.T) {
	const count, bad = 200, 137
	nodes, said := startNet(t, 3)
	t.Log(said)
	program, dir := python(t), t.TempDir()
	script := filepath.Join(dir, "summarize.py")
	write(t, script, summarize)
	name := func(i int) string { return fmt.Sprintf("texts/%c/%03d.txt", 'a'+i/20, i) }
	body := func(i int) string { return strings.Repeat("spare ", i%7) + strings.Repeat("word ", i%5) }
	for i := range count {
		write(t, filepath.Join(dir, name(i)), body(i))
	}
	write(t, filepath.Join(dir, name(bad)), "wörd")

	command := func(more ...string) ending {
		args := append([]string{"map", "-k", "--results", "results", "--joblog", "log", "--glob", "texts/**/*.txt"}, more...)
		cmd := nodes[0].command(append(args, "-i", "summarize.py", "-i", "{}:/in/text", program, "--", "-ISB", "/in/summarize.py", "{/.}")...)
		cmd.Dir = dir
		return finish(t, cmd)
	}
	want := func(isBad bool) string {
		var b strings.Builder
		for i := range count {
			if words := i%7 + i%5; i != bad {
				fmt.Fprintf(&b, "%03d %d\n", i, words)
			} else if !isBad {
				fmt.Fprintf(&b, "%03d 1\n", i)
			}
		}
		return b.String()
	}
	start := time.Now()
	end := command()
	if end.code != 1 || string(end.stdout) != want(true) || !strings.Contains(string(end.stderr), "there is no such word: 'w\\xf6rd'") {
		t.Fatalf("it exits %d:\n%s%s", end.code, end.stdout, end.stderr)
	}
	took := time.Since(start)
	for i := range count {
		path := fmt.Sprintf("results/%d/out/%03d.json", i+1, i)
		b, err := os.ReadFile(filepath.Join(dir, path))
		if i == bad {
			if err == nil {
				t.Errorf("%s is there", path)
			}
			continue
		}
		var parts []string
		for word, n := range map[string]int{"spare": i % 7, "word": i % 5} {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%q: %d", word, n))
			}
		}
		slices.Sort(parts)
		if err != nil || string(b) != "{"+strings.Join(parts, ", ")+"}" {
			t.Errorf("%s is %q (%v)", path, b, err)
		}
	}

	ran := func() (n int) {
		for _, node := range nodes {
			n += ask[status](t, node, "status").Sandbox.Tasks
		}
		return n
	}
	before := ran()
	if again := command("--resume"); again.code != 1 || string(again.stdout) != want(true) || ran() != before {
		t.Errorf("the same command exits %d and runs %d tasks:\n%s", again.code, ran()-before, again.stderr)
	}
	write(t, filepath.Join(dir, name(bad)), "word")
	start = time.Now()
	end = command("--retry-failed")
	if end.code != 0 || string(end.stdout) != want(false) {
		t.Errorf("mended, it exits %d:\n%s%s", end.code, end.stdout, end.stderr)
	}
	// A spare may run it as well.
	if n := ran() - before; n < 1 || n > 3 {
		t.Errorf("%d tasks were run again, want the one that was mended", n)
	}
	if b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("results/%d/out/%03d.json", bad+1, bad))); err != nil || string(b) != `{"word": 1}` {
		t.Errorf("mended, it has left %q (%v)", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || bytes.Count(b, []byte("\n")) != count+1 {
		t.Errorf("the log has (%v)\n%s", err, b)
	}
	t.Logf("%d files in %s; the one that was bad again in %s", count, took.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestE2EPipelineBundles makes a bundle of each of 100 entry points with esbuild. Run
// by node they say what the sources say, and esbuild here makes the same bytes.
func TestE2EPipelineBundles(t *testing.T) {
	const count = 100
	nodes, said := startNet(t, 3)
	t.Log(said)
	program, dir := esbuild(t), t.TempDir()
	write(t, filepath.Join(dir, "src/lib/power.ts"), "import { unused } from './unused'\nexport const power = (base: number, n: number): number => n == 0 ? 1 : base * power(base, n - 1)\n")
	write(t, filepath.Join(dir, "src/lib/unused.ts"), "export const unused = 'nobody wants this'\n")
	write(t, filepath.Join(dir, "src/lib/names.json"), `{"names": ["one", "two", "three"]}`)
	for i := range count {
		write(t, filepath.Join(dir, fmt.Sprintf("src/entry%02d.ts", i)), fmt.Sprintf(
			"import { power } from './lib/power'\nimport { names } from './lib/names.json'\nconsole.log(%d, power(%d, 3), names[%d])\n", i, i, i%3))
	}
	start := time.Now()
	bundles := func(results string, more ...string) {
		args := append([]string{"map", "--results", results, "-i", "src:/in", "--glob", "src/*.ts"}, more...)
		cmd := nodes[0].command(append(args, program, "--", "/in/{/}", "--bundle", "--minify", "--outfile=/out/{/.}.js")...)
		cmd.Dir = dir
		if end := finish(t, cmd); end.code != 0 {
			t.Fatalf("to %s it exits %d:\n%s%s", results, end.code, end.stdout, end.stderr)
		}
	}
	bundles("results")
	t.Logf("%d bundles in %s", count, time.Since(start).Round(100*time.Millisecond))
	bundles("here", "--local")
	name := func(results string, i int) string {
		return filepath.Join(dir, fmt.Sprintf("%s/%d/out/entry%02d.js", results, i+1, i))
	}
	bundle := func(i int) string { return name("results", i) }
	for i := range count {
		here, err := os.ReadFile(name("here", i))
		there, err2 := os.ReadFile(bundle(i))
		if err != nil || err2 != nil || len(here) == 0 || !bytes.Equal(here, there) {
			t.Errorf("bundle %d is, here (%v) and there (%v)\n%s\n%s", i, err, err2, here, there)
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("the bundles are not run: %v", err)
	}
	var all []string
	var want strings.Builder
	for i := range count {
		all = append(all, bundle(i))
		fmt.Fprintln(&want, i, i*i*i, []string{"one", "two", "three"}[i%3])
	}
	got, err := exec.Command("node", append([]string{"-e", "process.argv.slice(1).forEach(path => require(path))"}, all...)...).CombinedOutput()
	if err != nil || string(got) != want.String() {
		t.Errorf("the bundles say (%v)\n%s", err, got)
	}
}

// TestE2EPipelinePicture draws the Mandelbrot set in 256 tiles and puts them
// together. 'go test -artifacts' keeps the picture.
func TestE2EPipelinePicture(t *testing.T) {
	const size, side = 1024, 64
	nodes, said := startNet(t, 3)
	t.Log(said)
	dir := t.TempDir()
	var corners []string
	for at := 0; at < size; at += side {
		corners = append(corners, strconv.Itoa(at))
	}
	args := []string{
		"map", "--results", filepath.Join(dir, "tiles"), "--joblog", filepath.Join(dir, "log"), cModule(t, "mandelbrot"), "--",
		strconv.Itoa(size), "{2}", "{1}", strconv.Itoa(side), strconv.Itoa(side), ":::",
	}
	args = append(append(append(args, corners...), ":::"), corners...)
	start := time.Now()
	if end := nodes[0].spare(t, nil, args...); end.code != 0 {
		t.Fatalf("it exits %d: %s", end.code, end.stderr)
	}
	took := time.Since(start)

	picture := image.NewPaletted(image.Rect(0, 0, size, size), palette())
	n := 0
	for y := 0; y < size; y += side {
		for x := 0; x < size; x += side {
			n++
			tile := greys(t, filepath.Join(dir, "tiles", strconv.Itoa(n), "stdout"), side, side)
			for row := range side {
				copy(picture.Pix[(y+row)*picture.Stride+x:], tile[row*side:(row+1)*side])
			}
		}
	}
	whole, err := exec.Command(native(t, "mandelbrot"), strconv.Itoa(size)).Output()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "whole"), string(whole))
	if want := greys(t, filepath.Join(dir, "whole"), size, size); !bytes.Equal(picture.Pix, want) {
		t.Error("the picture is not the one that this machine draws in one piece")
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.ArtifactDir(), "mandelbrot.png")
	write(t, path, b.String())
	// More tiles wait at once than one node takes.
	peers := hosts(t, filepath.Join(dir, "log"))
	if peers < 2 {
		t.Errorf("%d peers have drawn all of it", peers)
	}
	t.Logf("%d tiles in %s, by %d peers, to %s", n, took.Round(10*time.Millisecond), peers, path)
}

// greys reads a binary PGM picture.
func greys(t *testing.T, path string, width, height int) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pixels, ok := bytes.CutPrefix(b, fmt.Appendf(nil, "P5\n%d %d\n255\n", width, height))
	if !ok || len(pixels) != width*height {
		t.Fatalf("%s is no picture of %d by %d: %d bytes, %.20q", path, width, height, len(b), b)
	}
	return pixels
}

// palette has colours for how soon an orbit escapes, and black for never.
func palette() color.Palette {
	p := make(color.Palette, 256)
	for i := range p {
		p[i] = color.RGBA{uint8(min(255, 9*i)), uint8(min(255, 4*i)), uint8(min(255, 60+3*i)), 255}
	}
	p[255] = color.Black
	return p
}

// hosts counts those that a log names.
func hosts(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		seen[strings.Split(line, "\t")[1]] = true
	}
	return len(seen) - 1 // but for the heading
}
