package market

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// shortfall is "2 GiB, needs 8 GiB". Two amounts that look the same in units
// are written out.
func shortfall(unit func(uint64) string, has, needs uint64) string {
	a, b := unit(has), unit(needs)
	if a == b {
		a, b = strconv.FormatUint(has, 10), strconv.FormatUint(needs, 10)
	}
	return a + ", needs " + b
}

// size writes bytes as people do, rounded down, so that it never promises more
// than there is: 64 KiB, 1.5 GiB.
func size(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	x := float64(n)
	for x >= 1024 && len(units) > 1 {
		x, units = x/1024, units[1:]
	}
	if x < 10 {
		return number(math.Floor(10*x)/10) + " " + units[0]
	}
	return number(math.Floor(x)) + " " + units[0]
}

// wall writes milliseconds: 250 ms, 1m30s.
func wall(ms uint64) string { return span(time.Duration(ms) * time.Millisecond) }

// span writes a time with the few digits that matter: 0.21 ms, 1.2 s, 3m20s.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return number(float64(d)/float64(time.Millisecond)) + " ms"
	case d < time.Minute:
		return number(d.Seconds()) + " s"
	default:
		s := d.Round(time.Second).String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		return s
	}
}

// number writes x with two digits, and all of those before the point.
func number(x float64) string {
	decimals := 0
	if x < 1 {
		decimals = 2
	} else if x < 10 {
		decimals = 1
	}
	s := strconv.FormatFloat(x, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// count is "1 peer", "3 peers".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
