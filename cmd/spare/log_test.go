package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
)

// taken is a handler that keeps what it is given.
type taken struct {
	slog.Handler
	attrs *[]slog.Attr
}

func (h taken) Enabled(context.Context, slog.Level) bool { return true }

func (h taken) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		*h.attrs = append(*h.attrs, a)
		return true
	})
	return nil
}

func (h taken) WithAttrs(attrs []slog.Attr) slog.Handler {
	*h.attrs = append(*h.attrs, attrs...)
	return h
}

func (h taken) WithGroup(string) slog.Handler { return h }

func TestErrorsAreLoggedAsText(t *testing.T) {
	var got []slog.Attr
	log := slog.New(plainErrors{taken{attrs: &got}}).With("first", fmt.Errorf("a: %w", errors.New("b")))
	log.WithGroup("g").With("second", errors.New("e")).Error("it failed", "err", fmt.Errorf("c: %w", errors.New("d")), "n", 7)
	want := []slog.Attr{slog.String("first", "a: b"), slog.String("second", "e"), slog.String("err", "c: d"), slog.Int("n", 7)}
	if !slices.EqualFunc(got, want, slog.Attr.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
}
