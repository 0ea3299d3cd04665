// Tally counts the words of each file below /in, and writes the counts to a
// file of the same name below /out: a line for each word, the most frequent
// first, words of equal count in the order of their bytes. A word is a run of
// letters and digits, in lower case. On stdout it prints, for each file, its
// words and its different words.
//
// With two arguments these are the directories to read and to write.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

func main() {
	from, to := "/in", "/out"
	switch len(os.Args) {
	case 1:
	case 3:
		from, to = os.Args[1], os.Args[2]
	default:
		fmt.Fprintln(os.Stderr, "usage: tally [FROM TO]")
		os.Exit(2)
	}
	if err := tally(from, to); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

func tally(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		counts, words := count(string(text))
		fmt.Println(filepath.ToSlash(name), words, len(counts))
		return write(filepath.Join(to, name), counts)
	})
}

func count(text string) (counts map[string]int, words int) {
	counts = make(map[string]int)
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		counts[strings.ToLower(word)]++
		words++
	}
	return counts, words
}

func write(path string, counts map[string]int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, word := range words {
		fmt.Fprintln(out, counts[word], word)
	}
	if err := out.Flush(); err != nil {
		_ = file.Close() // the write's error says more
		return err
	}
	return file.Close()
}
