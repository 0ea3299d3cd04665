package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/node/sandbox"
)

// Diagnose tells how well this machine would confine a node's workers, without
// the node. The layers that it requires are marked as such.
func Diagnose(ctx context.Context, cfg Config) (_ api.Diagnosis, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d, err := donor.New(cfg.donor(donor.Measure(cfg.Logger)))
	if err != nil {
		return api.Diagnosis{}, err
	}
	dir, err := os.MkdirTemp("", "spare-doctor-")
	if err != nil {
		return api.Diagnosis{}, fmt.Errorf("make a directory for a worker: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("of the node"), 0o600); err != nil {
		return api.Diagnosis{}, fmt.Errorf("make a file for a worker: %w", err)
	}
	cell := filepath.Join(dir, cacheName)
	if err := os.Mkdir(cell, 0o700); err != nil {
		return api.Diagnosis{}, fmt.Errorf("make a directory for a worker: %w", err)
	}
	workers := cfg.sandbox(d.Capacity())
	workers.Dir = cell
	found, err := sandbox.Diagnose(ctx, workers, secret)
	return viewDiagnosis(found, cfg.Require), err
}

func viewDiagnosis(d sandbox.Diagnosis, required []string) api.Diagnosis {
	out := api.Diagnosis{Layers: viewLayers(d.Layers, required)}
	for _, a := range d.Attempts {
		t := api.Trial{What: a.What, Escaped: a.Succeeded, Result: a.How}
		if a.Succeeded {
			t.Result = "it could"
		}
		out.Trials = append(out.Trials, t)
	}
	return out
}

func viewLayers(layers []sandbox.Layer, required []string) []api.Layer {
	var list []api.Layer
	for _, l := range layers {
		list = append(list, api.Layer{
			Name: l.Name, InForce: l.InForce, Required: slices.Contains(required, l.Name), Does: layerDoes(l.Name), Why: l.Why,
		})
	}
	return list
}

// layerDoes says for people what a layer is for.
func layerDoes(name string) string {
	switch name {
	case "process":
		return "a program runs in a process of its own, which ends with the node"
	case "user-namespace":
		return "it has no rights outside its own world"
	case "pid-namespace":
		return "it neither sees nor signals other processes"
	case "net-namespace":
		return "it has no network, not even this machine's"
	case "ipc-namespace":
		return "it shares no memory or queues with others"
	case "mount-namespace":
		return "one directory of compiled code is all it finds of a file system"
	case "uts-namespace":
		return "it cannot rename this machine"
	case "no-new-privs":
		return "it can gain no rights"
	case "rlimits":
		return "its memory, files and processor time are bounded"
	case "landlock":
		return "the kernel denies it other files, signals and TCP"
	case "seccomp":
		return "the kernel denies it the system calls that it does not need; it starts no process"
	case "idle-priority":
		return "it runs when nobody else wants the processor"
	case "idle-io":
		return "it reads when nobody else wants the disk"
	case "cgroup":
		return "all workers together have bounded memory and processes"
	default:
		return ""
	}
}
