package main

import (
	"context"
	"log/slog"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// newLogger sends our logs and the libraries' to stderr. The libraries warn of
// what is usual, such as having no peer yet, so only their errors are heard
// unless everything is asked for.
func newLogger(level string) (*slog.Logger, error) {
	ours, err := golog.Parse(level)
	if err != nil {
		return nil, err
	}
	theirs := golog.LevelError
	if ours == golog.LevelDebug {
		theirs = ours
	}
	golog.SetupLogging(golog.Config{
		Format: golog.PlaintextOutput, Stderr: true, Level: theirs, SubsystemLevels: map[string]golog.LogLevel{"spare": ours},
	})
	gologshim.SetDefaultHandler(golog.SlogHandler())
	return slog.New(plainErrors{golog.SlogHandler()}).With("logger", "spare"), nil
}

// plainErrors hands errors on as their texts: go-log v2.9.2 would write the
// fields of their types, mostly {}.
type plainErrors struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h plainErrors) Handle(ctx context.Context, r slog.Record) error {
	plain := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		plain.AddAttrs(plainError(a))
		return true
	})
	return h.Handler.Handle(ctx, plain)
}

// WithAttrs implements [slog.Handler].
func (h plainErrors) WithAttrs(attrs []slog.Attr) slog.Handler {
	plain := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		plain[i] = plainError(a)
	}
	return plainErrors{h.Handler.WithAttrs(plain)}
}

// WithGroup implements [slog.Handler].
func (h plainErrors) WithGroup(name string) slog.Handler {
	return plainErrors{h.Handler.WithGroup(name)}
}

func plainError(a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok && a.Value.Kind() == slog.KindAny {
		return slog.String(a.Key, err.Error())
	}
	return a
}
