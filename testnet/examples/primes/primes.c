//go:build ignore

// The line above keeps the go tool from taking this file for cgo's.
//
// Counts the primes below its argument with the sieve of Eratosthenes. One bit
// stands for each odd number: bit i for 2i+1.

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const uint64_t max_limit = 4000000000u;

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: primes LIMIT\n");
		return 2;
	}
	char *end;
	errno = 0;
	uint64_t limit = strtoull(argv[1], &end, 10);
	if (!isdigit((unsigned char)argv[1][0]) || *end != 0 || errno != 0 || limit > max_limit) {
		fprintf(stderr, "primes: the limit is a number up to %" PRIu64 "\n", max_limit);
		return 2;
	}
	uint64_t primes = limit > 2; // 2
	uint64_t odd = limit / 2;
	uint8_t *composite = calloc(odd / 8 + 1, 1);
	if (composite == NULL) {
		perror("primes");
		return 1;
	}
	for (uint64_t i = 1; i < odd; i++) {
		if (composite[i / 8] & 1 << i % 8)
			continue;
		primes++;
		uint64_t p = 2 * i + 1;
		for (uint64_t j = (p * p - 1) / 2; j < odd; j += p)
			composite[j / 8] |= (uint8_t)(1 << j % 8);
	}
	printf("%" PRIu64 "\n", primes);
	return fflush(stdout) == 0 ? 0 : 1;
}
