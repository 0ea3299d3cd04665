// Mandelbrot writes the Mandelbrot set as a binary PGM picture to stdout. Its
// first argument is the width and height in pixels, 256 if absent. With four more
// it writes a tile of the picture: from which column and row, how wide and high.
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
	var numbers []int // size, left, top, width, height
	for _, arg := range os.Args[1:] {
		n, err := strconv.Atoi(arg)
		if err != nil {
			n = -1
		}
		numbers = append(numbers, n)
	}
	switch len(numbers) {
	case 0:
		numbers = []int{256, 0, 0, 256, 256}
	case 1:
		numbers = []int{numbers[0], 0, 0, numbers[0], numbers[0]}
	}
	if !valid(numbers) {
		fmt.Fprintf(os.Stderr, "mandelbrot: the size is a number from 1 to %d, a tile is LEFT TOP WIDTH HEIGHT within\n", maxSize)
		os.Exit(2)
	}
	if err := draw(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]); err != nil {
		fmt.Fprintln(os.Stderr, "mandelbrot:", err)
		os.Exit(1)
	}
}

func valid(n []int) bool {
	return len(n) == 5 && n[0] >= 1 && n[0] <= maxSize && n[1] >= 0 && n[2] >= 0 && n[3] >= 1 && n[4] >= 1 &&
		n[3] <= n[0]-n[1] && n[4] <= n[0]-n[2]
}

func draw(size, left, top, width, height int) error {
	out := bufio.NewWriterSize(os.Stdout, 32<<10)
	fmt.Fprintf(out, "P5\n%d %d\n255\n", width, height)
	for y := top; y < top+height; y++ {
		for x := left; x < left+width; x++ {
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
