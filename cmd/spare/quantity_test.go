package main

import (
	"slices"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestGasAmount(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "7": 7, "1e9": 1e9, "1E9": 1e9, "1.5e3": 1500, "5G": 5e9, "5g": 5e9, "2T": 2e12, "500M": 5e8, "3k": 3000, "1P": 1e15, "1E": 1e18, "1.15 E": 115e16, "5 G": 5e9,
		"8.2T": 82e11, "2.01G": 201e7, "0.001T": 1e9, "99.99g": 9999e7, "1e10k": 1e13,
		"0.5K": 500, "1152921504606846976": 1 << 60, "18446744073709551615": 1<<64 - 1,
	} {
		t.Run(text, func(t *testing.T) {
			if got, ok := readGas(text); !ok || got != want {
				t.Errorf("%d (%v), want %d", got, ok, want)
			}
			// What is shown can be said again, of which the least digits are lost.
			if got, ok := readGas(protocol.GasText(want)); !ok || got > want || want-got > want/100 {
				t.Errorf("%s is read as %d", protocol.GasText(want), got)
			}
		})
	}
	for name, text := range map[string]string{
		"nothing": "", "a letter alone": "G", "a fraction": "1.5", "a tiny fraction": "1e-1", "less than none": "-1", "words": "lots",
		"an unknown letter": "5X", "infinity": "inf", "no number": "nan", "hexadecimal": "0x10", "too much": "1e30", "too much with a letter": "1e17P", "many digits": "0.0000000000000000001T", "absurd": "1e999999999",
		"two spaces": "5  G", "two letters": "5GG", "an underscore": "1_000",
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := readGas(text); ok {
				t.Errorf("%q is %d", text, got)
			}
		})
	}
}

func TestTheLastValueOfANameWins(t *testing.T) {
	var e environment
	for _, kv := range []string{"A=1", "AB=x=y", "B=", "A=2"} {
		if err := e.Set(kv); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"AB=x=y", "B=", "A=2"}; !slices.Equal(e, want) {
		t.Errorf("%q, want %q", e, want)
	}
	for _, kv := range []string{"", "A", "=1"} {
		if err := e.Set(kv); err == nil {
			t.Errorf("%q is taken", kv)
		}
	}
}
