package main

import (
	"errors"
	"math/big"
	"regexp"
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

// amountForm is what big.Rat reads exactly and at once: no signs, fractions,
// or exponents of many digits.
var amountForm = regexp.MustCompile(`^([0-9]{1,20}(?:\.[0-9]{1,18})?(?:[eE]\+?[0-9]{1,2})?)([KMGTPkmgtp]?)$`)

// Set reads an amount: digits, 1e9, or with one of the letters K, M, G, T, P.
// It is exact.
func (g *gasAmount) Set(s string) error {
	bad := errors.New("want an amount of gas such as 500M, 1e9 or 2T")
	parts := amountForm.FindStringSubmatch(s)
	if parts == nil {
		return bad
	}
	n, ok := new(big.Rat).SetString(parts[1])
	if !ok {
		return bad
	}
	if unit := strings.Index("KMGTP", strings.ToUpper(parts[2])); parts[2] != "" {
		scale := new(big.Int).Exp(big.NewInt(1000), big.NewInt(int64(unit+1)), nil)
		n.Mul(n, new(big.Rat).SetInt(scale))
	}
	if !n.IsInt() || !n.Num().IsUint64() {
		return bad
	}
	*g = gasAmount(n.Num().Uint64())
	return nil
}

// size writes a number of bytes.
func size(n uint64) string { return humanize.IBytes(n) }

// amount writes an amount of gas, to three digits or so.
func amount(n uint64) string {
	value, unit := humanize.ComputeSI(float64(n))
	return strings.ToUpper(strings.TrimSpace(humanize.FtoaWithDigits(value, 2) + " " + unit))
}
