// Primes counts the primes below its argument with the sieve of Eratosthenes.
package main

import (
	"fmt"
	"os"
	"strconv"
)

const maxLimit = 4_000_000_000

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: primes LIMIT")
		os.Exit(2)
	}
	limit, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil || limit > maxLimit {
		fmt.Fprintf(os.Stderr, "primes: the limit is a number up to %d\n", uint64(maxLimit))
		os.Exit(2)
	}
	fmt.Println(count(limit))
}

// count returns the number of primes below limit. The sieve keeps one bit for
// each odd number: bit i stands for 2i+1.
func count(limit uint64) uint64 {
	if limit <= 2 {
		return 0
	}
	odd := limit / 2
	composite := make([]byte, odd/8+1)
	primes := uint64(1) // 2
	for i := uint64(1); i < odd; i++ {
		if composite[i/8]&(1<<(i%8)) != 0 {
			continue
		}
		primes++
		p := 2*i + 1
		for j := (p*p - 1) / 2; j < odd; j += p {
			composite[j/8] |= 1 << (j % 8)
		}
	}
	return primes
}
