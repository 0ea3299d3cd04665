package market

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spare-network/spare/protocol"
)

func digits(n uint64) string { return strconv.FormatUint(n, 10) }

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
		return protocol.TimeText(d.Round(time.Second))
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

// flagGas writes the most that --gas may ask of n.
func flagGas(n uint64) string {
	switch {
	case n >= 1e12 && n%1e12 == 0:
		return digits(n/1e12) + "T"
	case n >= 1e9:
		return digits(n/1e9) + "G"
	default:
		return digits(n)
	}
}

// flagSize writes the most that a flag may ask of n bytes.
func flagSize(n uint64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	default:
		return fmt.Sprintf("%dKiB", n>>10)
	}
}

func flagWall(ms uint64) string { return protocol.TimeText(time.Duration(ms) * time.Millisecond) }

// count is "1 peer", "3 peers".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
