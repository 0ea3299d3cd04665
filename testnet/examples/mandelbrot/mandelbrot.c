//go:build ignore

// The line above keeps the go tool from taking this file for cgo's.
//
// Writes the Mandelbrot set as a binary PGM picture to stdout. Its argument is
// the width and height in pixels, 256 if absent. The same picture as main.go's,
// to the byte.

#include <stdio.h>
#include <stdlib.h>

#pragma STDC FP_CONTRACT OFF

enum { max_size = 16384, iterations = 255 };

static double coordinate(long i, long size, double from) {
	return from + 3 * (double)i / (double)size;
}

static int escape(double cr, double ci) {
	double zr = 0, zi = 0;
	for (int n = 0; n < iterations; n++) {
		double rr = zr * zr, ii = zi * zi;
		if (rr + ii > 4)
			return n;
		zi = 2 * (zr * zi) + ci;
		zr = rr - ii + cr;
	}
	return iterations;
}

int main(int argc, char **argv) {
	long size = 256;
	if (argc > 1) {
		char *end;
		size = strtol(argv[1], &end, 10);
		if (end == argv[1] || *end != 0 || size < 1 || size > max_size) {
			fprintf(stderr, "mandelbrot: the size is a number from 1 to %d\n", max_size);
			return 2;
		}
	}
	printf("P5\n%ld %ld\n255\n", size, size);
	for (long y = 0; y < size; y++)
		for (long x = 0; x < size; x++)
			putchar(escape(coordinate(x, size, -2), coordinate(y, size, -1.5)));
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("mandelbrot");
		return 1;
	}
	return 0;
}
