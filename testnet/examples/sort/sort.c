// Sorts pseudo-random numbers and prints a checksum of their order. Its
// argument is how many, 1000000 if absent. Nearly all it does is to compare and
// branch, as no processor can foresee: the hardest case for what counts work by
// blocks.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { max_numbers = 50000000, small = 16 };

// next is xorshift32 (Marsaglia, 2003).
static uint32_t next(uint32_t x) {
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static uint32_t median(uint32_t a, uint32_t b, uint32_t c) {
	if (a < b)
		return b < c ? b : a < c ? c : a;
	return a < c ? a : b < c ? c : b;
}

// sort is quicksort, which leaves short pieces to insertion.
static void sort(uint32_t *a, long n) {
	while (n > small) {
		uint32_t pivot = median(a[0], a[n / 2], a[n - 1]);
		long i = 0, j = n - 1;
		for (;;) {
			while (a[i] < pivot)
				i++;
			while (pivot < a[j])
				j--;
			if (i >= j)
				break;
			uint32_t t = a[i];
			a[i++] = a[j];
			a[j--] = t;
		}
		// The shorter side by a call, so that calls nest little.
		if (i < n - i) {
			sort(a, i);
			a += i, n -= i;
		} else {
			sort(a + i, n - i);
			n = i;
		}
	}
	for (long i = 1; i < n; i++) {
		uint32_t v = a[i];
		long j = i;
		for (; j > 0 && a[j - 1] > v; j--)
			a[j] = a[j - 1];
		a[j] = v;
	}
}

int main(int argc, char **argv) {
	long n = 1000000;
	if (argc > 1) {
		char *end;
		n = strtol(argv[1], &end, 10);
		if (end == argv[1] || *end != 0 || n < 1 || n > max_numbers) {
			fprintf(stderr, "sort: how many is a number from 1 to %d\n", max_numbers);
			return 2;
		}
	}
	uint32_t *a = malloc((size_t)n * sizeof *a);
	if (a == NULL) {
		perror("sort");
		return 1;
	}
	uint32_t x = 1;
	for (long i = 0; i < n; i++)
		a[i] = x = next(x);
	sort(a, n);
	// FNV-1a over the numbers in their order.
	uint64_t sum = 0xcbf29ce484222325;
	for (long i = 0; i < n; i++)
		sum = (sum ^ a[i]) * 0x100000001b3;
	printf("%016llx\n", (unsigned long long)sum);
	return fflush(stdout) == 0 ? 0 : 1;
}
