// Wordcount counts the lines, words and bytes of stdin, as wc does, and prints
// the three numbers with one space between them.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	lines, words, size, err := count(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
	fmt.Println(lines, words, size)
}

// count reads r to its end. A word is what stands between ASCII white space.
func count(r io.Reader) (lines, words, size uint64, err error) {
	buf := make([]byte, 64<<10)
	inWord := false
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			switch c {
			case '\n':
				lines++
				inWord = false
			case ' ', '\t', '\v', '\f', '\r':
				inWord = false
			default:
				if !inWord {
					words++
				}
				inWord = true
			}
		}
		size += uint64(n)
		if errors.Is(err, io.EOF) {
			return lines, words, size, nil
		}
		if err != nil {
			return lines, words, size, err
		}
	}
}
