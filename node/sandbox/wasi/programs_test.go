package wasi

import (
	"maps"
	"reflect"
	"strings"
	"testing"
)

const goSource = `package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func must(err error) {
	if err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

func main() {
	fmt.Println(os.Args, os.Getenv("COLOUR"))

	start := time.Now()
	time.Sleep(90 * time.Minute)
	fmt.Println("slept 90 minutes:", time.Since(start) >= 90*time.Minute && time.Since(start) < 91*time.Minute)
	fmt.Println(start.UTC().Format(time.DateOnly))

	b := make([]byte, 16)
	_, err := rand.Read(b)
	must(err)
	fmt.Println(hex.EncodeToString(b))

	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	fmt.Printf("%q\n", line)

	in, err := os.ReadFile("/in/sub/a.txt")
	must(err)
	fmt.Printf("%s\n", in)
	fmt.Println(errors.Is(os.WriteFile("/in/sub/a.txt", nil, 0o600), syscall.EROFS),
		errors.Is(os.Mkdir("/in/x", 0o700), syscall.EROFS), errors.Is(os.RemoveAll("/in"), syscall.EROFS))

	must(os.MkdirAll("/out/d/e", 0o700))
	for _, name := range []string{"z", "a", "m"} {
		must(os.WriteFile("/out/d/"+name, []byte("data of "+name), 0o600))
	}
	must(os.Rename("/out/d/m", "/out/d/e/n"))
	must(os.Symlink("e/n", "/out/d/link"))
	must(os.Symlink("/in/sub", "/tmp/abs"))
	must(os.Link("/out/d/a", "/out/d/b"))
	target, err := os.Readlink("/out/d/link")
	must(err)
	through, err := os.ReadFile("/out/d/link")
	must(err)
	fmt.Printf("%s: %s\n", target, through)
	absolute, err := os.ReadFile("/tmp/abs/a.txt")
	must(err)
	fmt.Printf("%s\n", absolute)
	_, err = os.Stat("/etc/passwd")
	fmt.Println(errors.Is(err, fs.ErrNotExist))

	f, err := os.OpenFile("/out/d/a", os.O_APPEND|os.O_RDWR, 0)
	must(err)
	_, err = f.WriteString(" and more")
	must(err)
	_, err = f.Seek(2, io.SeekStart)
	must(err)
	rest, err := io.ReadAll(f)
	must(err)
	fmt.Printf("%s\n", rest)
	must(f.Truncate(4))
	st, err := f.Stat()
	must(err)
	fmt.Println(st.Size(), st.ModTime().UTC())
	must(f.Close())

	must(os.Chtimes("/out/d/a", time.Unix(5, 0), time.Unix(7, 0)))
	st, err = os.Stat("/out/d/a")
	must(err)
	fmt.Println(st.ModTime().Unix())
	must(os.Remove("/out/d/z"))
	must(os.MkdirAll("/tmp/deep/er", 0o700))
	must(os.WriteFile("/tmp/deep/er/f", b, 0o600))
	must(os.RemoveAll("/tmp/deep"))

	must(filepath.WalkDir("/", func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			fmt.Println(path, e.Type())
		}
		return err
	}))
	cwd, err := os.Getwd()
	must(err)
	fmt.Println(cwd)
	os.Exit(42)
}
`

const goWant = `[prog one two] red
slept 90 minutes: true
2001-09-09
%RANDOM%
"first line\n"
input
true true true
e/n: data of m
input
true
ta of a and more
4 2001-09-09 01:46:40 +0000 UTC
7
/ d---------
/in d---------
/in/sub d---------
/in/sub/a.txt ----------
/out d---------
/out/d d---------
/out/d/a ----------
/out/d/b ----------
/out/d/e d---------
/out/d/e/n ----------
/out/d/link L---------
/tmp d---------
/tmp/abs L---------
/
`

func worldOfPrograms() Config {
	return Config{
		Args: []string{"prog", "one", "two"}, Env: []string{"COLOUR=red"},
		Clock: 1e18, Seed: [32]byte{1, 2, 3},
		Stdin:     strings.NewReader("first line\nsecond line\n"),
		Inputs:    []Input{{"/in/sub/a.txt", []byte("input")}},
		FileBytes: 1 << 20, Files: 100,
	}
}

func TestGoProgram(t *testing.T) {
	wasm := goProgram(t, goSource)
	first := program(t, wasm, worldOfPrograms())
	lines := strings.Split(first.stdout, "\n")
	if len(lines) < 4 || len(lines[3]) != 32 {
		t.Fatalf("stdout:\n%s", first.stdout)
	}
	if want := strings.Replace(goWant, "%RANDOM%", lines[3], 1); first.stdout != want {
		t.Errorf("stdout:\n%s\nwant:\n%s", first.stdout, want)
	}
	if first.exit != 42 || first.stderr != "" {
		t.Errorf("exit code %d, stderr %q", first.exit, first.stderr)
	}
	want := map[string]string{"/out/d/a": "data", "/out/d/b": "data", "/out/d/e/n": "data of m"}
	got := make(map[string]string)
	for _, o := range first.outputs {
		got[o.Path] = text(t, o)
	}
	if !maps.Equal(got, want) {
		t.Errorf("outputs %q, want %q", got, want)
	}
	if again := program(t, wasm, worldOfPrograms()); !reflect.DeepEqual(again, first) {
		t.Errorf("a second run was different:\n%+v\n%+v", again, first)
	}
	other := worldOfPrograms()
	other.Seed[0]++
	if r := program(t, wasm, other); strings.Split(r.stdout, "\n")[3] == lines[3] {
		t.Error("another seed gave the same random bytes")
	}
}

const cSource = `
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void show(const char *path) {
	struct stat st;
	if (lstat(path, &st)) { printf("%s: %s\n", path, strerror(errno)); return; }
	printf("%s: %s %lld mtime %lld ino %llu\n", path,
		S_ISDIR(st.st_mode) ? "dir" : S_ISLNK(st.st_mode) ? "link" : S_ISREG(st.st_mode) ? "file" : "other",
		S_ISREG(st.st_mode) ? (long long)st.st_size : 0LL, (long long)st.st_mtim.tv_sec, (unsigned long long)st.st_ino);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

int main(int argc, char **argv) {
	printf("%d %s %s tty %d %d\n", argc, argv[1], getenv("COLOUR"), isatty(0), isatty(1));
	char line[64];
	if (!fgets(line, sizeof line, stdin)) return 1;
	printf("%s", line);

	struct timespec before, after, hour = {3600, 5};
	clock_gettime(CLOCK_MONOTONIC, &before);
	printf("nanosleep %d\n", nanosleep(&hour, NULL));
	clock_gettime(CLOCK_MONOTONIC, &after);
	printf("slept %lld s\n", (long long)(after.tv_sec - before.tv_sec));
	after.tv_sec += 3600;
	printf("until %d\n", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &after, NULL));
	clock_gettime(CLOCK_MONOTONIC, &before);
	printf("until reached %d\n", before.tv_sec >= after.tv_sec && before.tv_sec < after.tv_sec + 1);
	struct pollfd fds[1] = {{0, POLLRDNORM, 0}};
	printf("poll %d %d\n", poll(fds, 1, 1000), fds[0].revents == POLLRDNORM);

	if (mkdir("/out/dir", 0700)) return 2;
	FILE *f = fopen("/out/dir/file", "w+");
	if (!f) return 3;
	fprintf(f, "hello %d\n", 7);
	fseek(f, 100000, SEEK_SET);
	fputs("end", f);
	fseek(f, 6, SEEK_SET);
	int n = 0;
	if (fscanf(f, "%d", &n) != 1) return 4;
	printf("scanned %d, at %ld\n", n, ftell(f));
	fclose(f);
	f = fopen("out/dir/file", "a"); /* relative to the working directory */
	fputs("!", f);
	fclose(f);
	symlink("../dir/file", "/out/dir/link");
	rename("/out/dir/file", "/out/dir/renamed");
	show("/out/dir/link"); show("/out/dir/renamed"); show("/out/dir/file"); show("/out/dir");
	printf("dangling: %d\n", open("/out/dir/link", O_RDONLY));
	printf("readonly: %d %s\n", open("/in/sub/a.txt", O_WRONLY), strerror(errno));
	printf("rmdir: %d %s\n", rmdir("/out/dir"), strerror(errno));
	printf("unlink: %d\n", unlink("/out/dir/link"));

	DIR *d = opendir("/");
	for (struct dirent *e; (e = readdir(d));) printf("[%s]", e->d_name);
	rewinddir(d);
	printf("[%s]\n", readdir(d)->d_name);
	closedir(d);
	struct dirent **names;
	n = scandir("/in/sub", &names, NULL, by_name);
	for (int i = 0; i < n; i++) printf("(%s)", names[i]->d_name);
	printf("\n");
	fprintf(stderr, "to stderr\n");
	return 7;
}
`

const cWant = `2 one red tty 0 0
first line
nanosleep 0
slept 3600 s
until 0
until reached 1
poll 1 1
scanned 7, at 7
/out/dir/link: link 0 mtime 1000000000 ino 9
/out/dir/renamed: file 100004 mtime 1000000000 ino 8
/out/dir/file: No such file or directory
/out/dir: dir 0 mtime 1000000000 ino 7
dangling: -1
readonly: -1 Read-only file system
rmdir: -1 Directory not empty
unlink: 0
[.][..][in][out][tmp][.]
(.)(..)(a.txt)
`

func TestCProgram(t *testing.T) {
	wasm := cProgram(t, cSource)
	c := worldOfPrograms()
	c.Args = c.Args[:2]
	r := program(t, wasm, c)
	if r.stdout != cWant {
		t.Errorf("stdout:\n%s\nwant:\n%s", r.stdout, cWant)
	}
	if r.exit != 7 || r.stderr != "to stderr\n" {
		t.Errorf("exit code %d, stderr %q", r.exit, r.stderr)
	}
	want := append([]byte("hello 7\n"), make([]byte, 100004-8)...)
	copy(want[100000:], "end!")
	if len(r.outputs) != 1 || r.outputs[0].Path != "/out/dir/renamed" || text(t, r.outputs[0]) != string(want) {
		t.Errorf("%d outputs", len(r.outputs))
	}
	c.Stdin = strings.NewReader("first line\nsecond line\n")
	if again := program(t, wasm, c); !reflect.DeepEqual(again, r) {
		t.Errorf("a second run was different:\n%+v\n%+v", again, r)
	}
}
