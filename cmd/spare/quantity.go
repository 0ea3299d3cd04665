package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/spare-network/spare/protocol"
)

// unit is what quantities are of.
type unit struct {
	name string // of a flag's value in the help
	want string // what to write, for people
	read func(string) (n uint64, ok bool)
	text func(uint64) string
}

var (
	counts = &unit{"N", "a number", readCount, decimal}
	sizes  = &unit{"SIZE", "a size, such as 512MiB,", readSize, protocol.SizeText}
	gases  = &unit{"AMOUNT", "an amount of gas, such as 500M, 1e9 or 2T,", readGas, protocol.GasText}
	times  = &unit{"TIME", "a time, such as 90s or 1h30m,", readTime, func(n uint64) string { return protocol.TimeText(time.Duration(n)) }}
)

// quantity is a flag's value within bounds; its default may lie outside. A most
// of 0 is none.
type quantity struct {
	*unit
	n, least, most uint64
}

// String returns the value, and nothing for 0, which is no default to show.
func (q *quantity) String() string {
	if q.unit == nil || q.n == 0 {
		return ""
	}
	return q.text(q.n)
}

// Type names the value in the help.
func (q *quantity) Type() string { return q.name }

// Set reads what is within the bounds.
func (q *quantity) Set(s string) error {
	n, ok := q.read(s)
	switch {
	case ok && n >= q.least && (q.most == 0 || n <= q.most):
		q.n = n
		return nil
	case q.most == 0:
		return fmt.Errorf("must be %s of %s or more", q.want, q.text(q.least))
	default:
		return fmt.Errorf("must be %s from %s to %s", q.want, q.text(q.least), q.text(q.most))
	}
}

func readCount(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func readSize(s string) (uint64, bool) {
	n, err := humanize.ParseBytes(s)
	return n, err == nil
}

// readTime reads nanoseconds.
func readTime(s string) (uint64, bool) {
	d, err := time.ParseDuration(s)
	return uint64(d), err == nil && d >= 0
}

// amountForm is what big.Rat reads exactly and at once: no signs, fractions,
// or exponents of many digits.
var amountForm = regexp.MustCompile(`^([0-9]{1,20}(?:\.[0-9]{1,18})?(?:[eE]\+?[0-9]{1,2})?) ?([KMGTPEkmgtpe]?)$`)

// readGas reads digits, 1e9, or either with one of the letters K, M, G, T, P, E.
// It is exact.
func readGas(s string) (uint64, bool) {
	parts := amountForm.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	n, ok := new(big.Rat).SetString(parts[1])
	if !ok {
		return 0, false
	}
	if unit := strings.Index("KMGTPE", strings.ToUpper(parts[2])); parts[2] != "" {
		scale := new(big.Int).Exp(big.NewInt(1000), big.NewInt(int64(unit+1)), nil)
		n.Mul(n, new(big.Rat).SetInt(scale))
	}
	if !n.IsInt() || !n.Num().IsUint64() {
		return 0, false
	}
	return n.Num().Uint64(), true
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// choice is a flag's value that is one of some words.
type choice struct {
	word string
	of   []string
}

func (c *choice) String() string { return c.word }

// Type names the words in the help.
func (c *choice) Type() string { return strings.Join(c.of, "|") }

// Set takes one of the words.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		last := len(c.of) - 1
		return fmt.Errorf("must be %s or %s", strings.Join(c.of[:last], ", "), c.of[last])
	}
	c.word = s
	return nil
}

// seed is the value of --seed.
type seed uint64

func (s *seed) String() string { return decimal(uint64(*s)) }

// Type names the value in the help.
func (s *seed) Type() string { return "NUMBER|random" }

// Set takes a number, or makes one up.
func (s *seed) Set(text string) error {
	if text == "random" {
		var b [8]byte
		rand.Read(b[:])
		*s = seed(binary.NativeEndian.Uint64(b[:]))
		return nil
	}
	n, ok := readCount(text)
	if !ok {
		return errors.New("must be a number of at most 64 bits, or random")
	}
	*s = seed(n)
	return nil
}

// environment is the value of --env.
type environment []string

func (e *environment) String() string { return "" }

// Type names the value in the help.
func (e *environment) Type() string { return "NAME=value" }

// Set adds a variable. The last value of a name wins, as with other programs:
// what programs make of two differs.
func (e *environment) Set(kv string) error {
	name, _, ok := strings.Cut(kv, "=")
	if !ok || name == "" {
		return errors.New("must be NAME=value")
	}
	*e = append(slices.DeleteFunc(*e, func(old string) bool { return strings.HasPrefix(old, name+"=") }), kv)
	return nil
}

// addresses is the value of a flag that takes multiaddrs, one at a time.
type addresses struct {
	list *[]string
	peer bool // each must end in /p2p/PEER
}

func (a *addresses) String() string { return "" }

// Type names the value in the help.
func (a *addresses) Type() string { return "MULTIADDR" }

// Set adds an address. Why a multiaddr is none, the library tells in words of
// programmers.
func (a *addresses) Set(s string) error {
	m, err := multiaddr.NewMultiaddr(s)
	if err == nil && a.peer {
		_, err = peer.AddrInfoFromP2pAddr(m)
	}
	switch {
	case err == nil:
		*a.list = append(*a.list, s)
		return nil
	case a.peer:
		return errors.New("must be the address of a peer, such as /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…, as 'spare status' has it there")
	default:
		return errors.New("must be a multiaddr, such as /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1, with a port of at most 65535")
	}
}
