// Guest does on purpose what the scenarios need a task to do: end with a code,
// crash, spin, print without end, take memory or files, sleep, look for a way
// out, or work for long.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const usage = `usage: guest exit CODE     ends with CODE
       guest crash         ends by a panic
       guest spin          never ends
       guest flood         prints without end
       guest grow BYTES    takes so much memory and prints how much
       guest nap SECONDS   sleeps and prints how long by its own clock
       guest open FILES    opens so many at once and prints how many it got
       guest escape        looks for files that are not its own
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
	case "nap":
		start := time.Now()
		time.Sleep(time.Duration(number()) * time.Second)
		fmt.Println(time.Since(start).Truncate(time.Second))
	case "open":
		open(number())
	case "escape":
		escape()
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

// open keeps every file that it opens.
func open(most int) {
	files := make([]*os.File, 0, most)
	var err error
	for len(files) < most && err == nil {
		var file *os.File
		if file, err = os.Create("/tmp/" + strconv.Itoa(len(files))); err == nil {
			files = append(files, file)
		}
	}
	fmt.Println(len(files), err)
}

// escape tries each way to a file of the machine's, and prints those that lead
// to one.
func escape() {
	const file = "etc/passwd"
	up := strings.Repeat("../", 20)
	ways := []string{"/" + file, "/in/" + up + file, "/proc/self/environ", "/out/relative", "/out/absolute", "/out/root/" + file}
	for name, target := range map[string]string{"relative": up + file, "absolute": "/" + file, "root": up} {
		// A link that is refused leads nowhere either.
		_ = os.Symlink(target, "/out/"+name)
	}
	for _, way := range ways {
		if b, err := os.ReadFile(way); err == nil {
			fmt.Printf("%s leads to %d bytes\n", way, len(b))
		}
	}
	fmt.Println(len(ways), "ways tried")
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
