package store

import (
	"bytes"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestGuestsComeBack(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	check := func(want map[peer.ID]string, all string) {
		t.Helper()
		each, got, err := s.Guests()
		if err != nil {
			t.Fatal(err)
		}
		if len(each) != len(want) || string(got) != all {
			t.Errorf("%q and %q, want %q and %q", each, got, want, all)
		}
		for p, record := range want {
			if string(each[p]) != record {
				t.Errorf("%s has %q, want %q", p, each[p], record)
			}
		}
	}
	save := func(each map[peer.ID][]byte, all string) {
		t.Helper()
		if err := s.SaveGuests(each, []byte(all)); err != nil {
			t.Fatal(err)
		}
	}
	check(nil, "")
	save(map[peer.ID][]byte{"a": []byte("1"), "b": []byte("2")}, "all")
	check(map[peer.ID]string{"a": "1", "b": "2"}, "all")
	s = reopen(t, s)
	check(map[peer.ID]string{"a": "1", "b": "2"}, "all")
	save(map[peer.ID][]byte{"a": nil, "b": []byte("3"), "c": []byte("4")}, "more")
	check(map[peer.ID]string{"b": "3", "c": "4"}, "more")
	s = reopen(t, s)
	check(map[peer.ID]string{"b": "3", "c": "4"}, "more")
	save(map[peer.ID][]byte{"a": nil}, "") // what is not there
	s = reopen(t, s)
	check(map[peer.ID]string{"b": "3", "c": "4"}, "")
}

func TestGuestsAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, err := range []error{
		s.SaveGuests(nil, make([]byte, maxGuestBook+1)),
		s.SaveGuests(map[peer.ID][]byte{"a": make([]byte, maxPeerRecord+1)}, nil),
		s.SaveGuests(map[peer.ID][]byte{peer.ID(bytes.Repeat([]byte("a"), maxPeerID+1)): nil}, nil),
	} {
		if err == nil {
			t.Error("too much is taken")
		}
	}
	if each, all, err := s.Guests(); len(each) > 0 || len(all) > 0 || err != nil {
		t.Errorf("part of it is stored: %q, %q, %v", each, all, err)
	}
}
