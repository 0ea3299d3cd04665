package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SizeText writes bytes as people read them everywhere, rounded down, so that it
// never promises more than there is: 64 KiB, 1.5 GiB.
func SizeText(n uint64) string {
	units, unit := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}, uint64(1)
	for n/unit >= 1024 {
		units, unit = units[1:], unit<<10
	}
	text := strconv.FormatUint(n/unit, 10)
	if tenth := n % unit * 10 / unit; n/unit < 10 && tenth > 0 {
		text += "." + strconv.FormatUint(tenth, 10)
	}
	return text + " " + units[0]
}

// GasText writes gas likewise: 900 K, 1.53 G, 10 T.
func GasText(n uint64) string {
	units, unit := []string{"", " K", " M", " G", " T", " P", " E"}, uint64(1)
	for n/unit >= 1000 {
		units, unit = units[1:], unit*1000
	}
	text := strconv.FormatUint(n/unit, 10)
	if unit > 1 {
		text = strings.TrimRight(strings.TrimRight(fmt.Sprintf("%s.%02d", text, n%unit/(unit/100)), "0"), ".")
	}
	return text + units[0]
}

// Apart writes two different amounts by text, or in digits and this unit when that
// makes them look the same.
func Apart(text func(uint64) string, unit string, x, y uint64) (string, string) {
	if s, t := text(x), text(y); s != t {
		return s, t
	}
	return strconv.FormatUint(x, 10) + unit, strconv.FormatUint(y, 10) + unit
}

// TimeText writes a time as [time.ParseDuration] reads it, without the zeros that
// its String ends with: 90s is 1m30s, and an hour 1h.
func TimeText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
