// Copies stdin to stdout by plain reads and writes: the least that a task can
// do, and so what the benchmark runs.

#include <stdio.h>
#include <unistd.h>

int main(void) {
	static char buf[64 << 10];
	ssize_t n;
	while ((n = read(STDIN_FILENO, buf, sizeof buf)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(STDOUT_FILENO, buf + done, (size_t)(n - done));
			if (w < 0) {
				perror("echo: write");
				return 1;
			}
			done += w;
		}
	}
	if (n < 0) {
		perror("echo: read");
		return 1;
	}
	return 0;
}
