// Guest does on purpose what the scenarios need a task to do: end with a code,
// crash, spin, print without end, take memory, or work for long.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const usage = `usage: guest exit CODE     ends with CODE
       guest crash         ends by a panic
       guest spin          never ends
       guest flood         prints without end
       guest grow BYTES    takes so much memory and prints how much
       guest chain STEPS   hashes STEPS times and prints every tenth part
       guest env NAME...   prints these variables`

func main() {
	if len(os.Args) < 2 {
		fail()
	}
	switch os.Args[1] {
	case "exit":
		os.Exit(number())
	case "crash":
		panic("as asked")
	case "spin":
		for spins := uint64(1); ; spins++ {
			if spins == 0 {
				fmt.Println("the counter has wrapped")
			}
		}
	case "flood":
		line := []byte(strings.Repeat("flood ", 1000) + "\n")
		for {
			if _, err := os.Stdout.Write(line); err != nil {
				fmt.Fprintln(os.Stderr, "guest:", err)
				os.Exit(1)
			}
		}
	case "grow":
		grow(number())
	case "chain":
		chain(number())
	case "env":
		for _, name := range os.Args[2:] {
			fmt.Println(os.Getenv(name))
		}
	default:
		fail()
	}
}

func fail() {
	fmt.Fprintln(os.Stderr, usage)
	os.Exit(2)
}

func number() int {
	if len(os.Args) != 3 {
		fail()
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil || n < 0 {
		fail()
	}
	return n
}

// grow touches each page, since memory that is only reserved costs nothing.
func grow(size int) {
	held := make([]byte, size)
	pages := 0
	for i := 0; i < len(held); i += 64 << 10 {
		held[i] = 1
		pages += int(held[i])
	}
	fmt.Println(len(held), "bytes in", pages, "pages")
}

// chain hashes a hash for steps times. Each tenth of the way is printed as it
// is reached, so that output comes while the guest works.
func chain(steps int) {
	sum := sha256.Sum256(nil)
	for i := 1; i <= steps; i++ {
		sum = sha256.Sum256(sum[:])
		if i*10/steps != (i-1)*10/steps {
			fmt.Printf("%d %x\n", i, sum)
		}
	}
}
