package main

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// byteSize is a number of bytes, such as 512MiB, in a flag or a file.
type byteSize uint64

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return size(uint64(*b))
}

// Type names the flag's value in the help.
func (b *byteSize) Type() string { return "size" }

// Set reads a size.
func (b *byteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil {
		return errors.New("want a size such as 512MiB")
	}
	*b = byteSize(n)
	return nil
}

// UnmarshalText reads a size.
func (b *byteSize) UnmarshalText(text []byte) error { return b.Set(string(text)) }

// gasAmount is an amount of gas, such as 5G, in a flag or a file.
type gasAmount uint64

func (g *gasAmount) String() string {
	if *g == 0 {
		return ""
	}
	return amount(uint64(*g))
}

// Type names the flag's value in the help.
func (g *gasAmount) Type() string { return "amount" }

// Set reads an amount: digits, 1e9, or with one of the letters K, M, G, T, P.
// It is exact up to 2^53.
func (g *gasAmount) Set(s string) error {
	bad := errors.New("want an amount of gas such as 500M, 1e9 or 2T")
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		*g = gasAmount(n)
		return nil
	}
	scale := 1.0
	for i, unit := range []string{"K", "M", "G", "T", "P"} {
		if number, ok := strings.CutSuffix(strings.ToUpper(s), unit); ok {
			s, scale = number, math.Pow10(3*(i+1))
			break
		}
	}
	if strings.Trim(s, "0123456789.eE+") != "" {
		return bad // what ParseFloat takes besides: signs, hex, inf, underscores
	}
	f, err := strconv.ParseFloat(s, 64)
	if f *= scale; err != nil || f != math.Trunc(f) || f >= 1<<63 {
		return bad
	}
	*g = gasAmount(f)
	return nil
}

// UnmarshalText reads an amount.
func (g *gasAmount) UnmarshalText(text []byte) error { return g.Set(string(text)) }

// size writes a number of bytes.
func size(n uint64) string { return humanize.IBytes(n) }

// amount writes an amount of gas, to three digits or so.
func amount(n uint64) string {
	value, unit := humanize.ComputeSI(float64(n))
	return strings.ToUpper(strings.TrimSpace(humanize.FtoaWithDigits(value, 2) + " " + unit))
}
