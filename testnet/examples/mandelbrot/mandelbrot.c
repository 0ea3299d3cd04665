//go:build ignore

// The line above keeps the go tool from taking this file for cgo's.
//
// Writes the Mandelbrot set as a binary PGM picture to stdout. Its first argument
// is the width and height in pixels, 256 if absent. With four more it writes a tile
// of the picture: from which column and row, how wide and high. The same picture as
// main.go's, to the byte.

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
	long n[5] = {256, 0, 0, 256, 256}; // size, left, top, width, height
	int bad = argc != 1 && argc != 2 && argc != 6;
	for (int i = 1; i < argc && !bad; i++) {
		char *end;
		n[i - 1] = strtol(argv[i], &end, 10);
		bad = end == argv[i] || *end != 0;
	}
	long size = n[0];
	if (argc == 2)
		n[3] = n[4] = size;
	if (bad || size < 1 || size > max_size || n[1] < 0 || n[2] < 0 || n[3] < 1 || n[4] < 1 || n[3] > size - n[1] || n[4] > size - n[2]) {
		fprintf(stderr, "mandelbrot: the size is a number from 1 to %d, a tile is LEFT TOP WIDTH HEIGHT within\n", max_size);
		return 2;
	}
	printf("P5\n%ld %ld\n255\n", n[3], n[4]);
	for (long y = n[2]; y < n[2] + n[4]; y++)
		for (long x = n[1]; x < n[1] + n[3]; x++)
			putchar(escape(coordinate(x, size, -2), coordinate(y, size, -1.5)));
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("mandelbrot");
		return 1;
	}
	return 0;
}
