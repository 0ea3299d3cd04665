//go:build !linux

package main

// releaseProgram leaves it to the system what of the program is in memory.
func releaseProgram() {}
