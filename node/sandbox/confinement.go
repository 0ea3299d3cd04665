package sandbox

import (
	"context"
	"errors"
	"slices"

	"github.com/spare-network/spare/node/sandbox/jail"
)

// Layer is one layer of the confinement of workers, in force or not.
type Layer = jail.Layer

// Attempt is one thing that a confined process tried and must not manage.
type Attempt = jail.Attempt

// LayerNames returns the names of all layers that some system has.
func LayerNames() []string { return jail.Names() }

// Diagnosis tells how well workers are confined on this machine.
type Diagnosis struct {
	Layers   []Layer
	Attempts []Attempt
}

func (c *Config) jail() jail.Config { return jail.Config{Dir: c.Dir, Memory: c.Memory} }

// Layers returns all layers, in force or not.
func (p *Pool) Layers() []Layer { return p.box.Layers() }

// Missing returns those of the layers required that are not in force.
func (p *Pool) Missing(required []string) []Layer { return missing(p.box.Layers(), required) }

func missing(layers []Layer, required []string) []Layer {
	return slices.DeleteFunc(layers, func(l Layer) bool { return l.InForce || !slices.Contains(required, l.Name) })
}

// Diagnose starts a confined process that attempts what a guest must not
// manage, such as reading the file named, and returns what came of it.
func (p *Pool) Diagnose(ctx context.Context, file string) (Diagnosis, error) {
	attempts, err := p.box.Try(ctx, file)
	return Diagnosis{Layers: p.box.Layers(), Attempts: attempts}, err
}

// Diagnose is [Pool.Diagnose] without the pool that cfg would make. Its Dir must
// be there and be the caller's own.
func Diagnose(ctx context.Context, cfg Config, file string) (Diagnosis, error) {
	box, err := jail.New(ctx, cfg.jail())
	if err != nil {
		return Diagnosis{}, err
	}
	attempts, err := box.Try(ctx, file)
	d := Diagnosis{Layers: box.Layers(), Attempts: attempts}
	return d, errors.Join(err, box.Close())
}
