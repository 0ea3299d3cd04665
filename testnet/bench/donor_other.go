//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// burnerName is no program here.
const burnerName = "bench-owner"

// benchDonor says that it cannot.
func benchDonor(_ context.Context, _ options, _ *fleet, out io.Writer) error {
	_, err := fmt.Fprintln(out, "What guests take while their owner wants all CPUs is measured on Linux alone.")
	return err
}

func burn(string) error { return errors.ErrUnsupported }
