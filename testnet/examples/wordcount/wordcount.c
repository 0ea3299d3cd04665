//go:build ignore

// The line above keeps the go tool from taking this file for cgo's.
//
// Counts the lines, words and bytes of stdin, as wc does, and prints the three
// numbers with one space between them.

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static bool is_space(unsigned char c) {
	return c == ' ' || (c >= '\t' && c <= '\r');
}

int main(void) {
	static unsigned char buf[64 << 10];
	uint64_t lines = 0, words = 0, size = 0;
	bool in_word = false;
	size_t n;
	while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) {
		size += n;
		for (size_t i = 0; i < n; i++) {
			lines += buf[i] == '\n';
			bool space = is_space(buf[i]);
			words += !space && !in_word;
			in_word = !space;
		}
	}
	if (ferror(stdin)) {
		perror("wordcount");
		return 1;
	}
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", lines, words, size);
	return fflush(stdout) == 0 ? 0 : 1;
}
