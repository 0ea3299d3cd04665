//go:build chaos && unix

package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	_ "unsafe" // for go:linkname
)

// jumped is how many seconds the overlaid package time, which 'make
// bin/spare-chaos' makes, is off. Without the overlay nothing looks at it.
//
//go:linkname jumped time.jumped
var jumped int64

// init has testnet/chaos set the clock wrong: it names a file in the
// environment, and upon SIGUSR1 the file says by how many seconds.
func init() {
	file := os.Getenv("SPARE_CHAOS_CLOCK")
	if file == "" {
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() { // as long as the process
		for range asked {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			before, was := time.Now(), jumped
			jumped, err = strconv.ParseInt(string(text), 10, 64)
			if moved := time.Now().Unix() - before.Unix() - (jumped - was); err != nil || moved < -1 || moved > 1 {
				fmt.Fprintln(os.Stderr, "chaos: the clock does not jump: this program was not built by 'make bin/spare-chaos'", err)
				os.Exit(1)
			}
		}
	}()
}
