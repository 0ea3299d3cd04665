// Mandelbrot writes the Mandelbrot set as a binary PGM picture to stdout. Its
// argument is the width and height in pixels, 256 if absent.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

const (
	maxSize    = 16384
	iterations = 255
)

func main() {
	size := 256
	if len(os.Args) > 1 {
		n, err := strconv.Atoi(os.Args[1])
		if err != nil || n < 1 || n > maxSize {
			fmt.Fprintf(os.Stderr, "mandelbrot: the size is a number from 1 to %d\n", maxSize)
			os.Exit(2)
		}
		size = n
	}
	if err := draw(size); err != nil {
		fmt.Fprintln(os.Stderr, "mandelbrot:", err)
		os.Exit(1)
	}
}

func draw(size int) error {
	out := bufio.NewWriterSize(os.Stdout, 32<<10)
	fmt.Fprintf(out, "P5\n%d %d\n255\n", size, size)
	for y := range size {
		for x := range size {
			// A bufio.Writer keeps its first error for Flush.
			_ = out.WriteByte(escape(coordinate(x, size, -2), coordinate(y, size, -1.5)))
		}
	}
	return out.Flush()
}

// coordinate maps pixel i to the interval of length 3 that begins at from.
func coordinate(i, size int, from float64) float64 {
	return from + float64(3*float64(i))/float64(size)
}

// escape counts the steps until the orbit of c leaves the circle of radius 2.
// The conversions forbid fused multiply-add, so that every machine draws the
// same picture.
func escape(cr, ci float64) byte {
	var zr, zi float64
	for n := range iterations {
		rr, ii := float64(zr*zr), float64(zi*zi)
		if rr+ii > 4 {
			return byte(n)
		}
		zi = float64(2*float64(zr*zi)) + ci
		zr = rr - ii + cr
	}
	return iterations
}
