//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// trouble does what the schedule says until ctx ends, and returns when all are
// well again.
func (f *fleet) trouble(ctx context.Context, s *schedule) {
	if s.every == 0 || len(s.bag) == 0 {
		return
	}
	var suffering sync.WaitGroup
	defer suffering.Wait()
	recovered := make(chan struct{}, 1)
	for {
		p := s.next()
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.after):
		}
		nodes := f.victims(p)
		for nodes == nil {
			select {
			case <-ctx.Done():
				return
			case <-recovered:
				nodes = f.victims(p)
			}
		}
		suffering.Go(func() {
			if err := f.suffer(ctx, nodes, p); err != nil {
				fmt.Fprintf(os.Stderr, "chaos: %s at %s: %v\n", p.what, nodes[0].name(), err)
			}
			f.recover(nodes, p)
			select {
			case recovered <- struct{}{}:
			default: // it is told already
			}
		})
	}
}

// victims returns the nodes that a fault happens to, or none if nobody can bear
// it now. At least half of the providers are always well, since where nobody is
// left nothing can go on: a partition begins with those that are ill, and while
// it lasts others fall ill beyond it only.
func (f *fleet) victims(p plan) (nodes []*node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	providers := len(f.nodes) - 1
	round := make([]int, providers) // all, beginning with the one that is drawn
	for i := range round {
		round[i] = 1 + (p.node-1+i)%providers
	}
	if p.what == parted {
		if len(f.far) > 0 {
			return nil
		}
		for _, ill := range []bool{true, false} {
			for _, i := range round {
				if f.ill[i] == ill && len(nodes) < providers/2 {
					f.far[i] = true
					nodes = append(nodes, f.nodes[i])
				}
			}
		}
		return nodes
	}
	if len(f.far) == 0 && len(f.ill) >= providers/2 {
		return nil
	}
	for _, i := range round {
		if !f.ill[i] && (len(f.far) == 0 || f.far[i]) {
			f.ill[i] = true
			return []*node{f.nodes[i]}
		}
	}
	return nil
}

func (f *fleet) recover(nodes []*node, p plan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	suffered := f.ill
	if p.what == parted {
		suffered = f.far
	}
	for _, n := range nodes {
		delete(suffered, n.number)
	}
}

// suffer has one fault happen, until it is over.
func (f *fleet) suffer(ctx context.Context, nodes []*node, p plan) error {
	n := nodes[0]
	if p.what != parted && !n.runs() {
		f.noteDeath()
		_, err := n.start(context.WithoutCancel(ctx))
		return errors.Join(errDied, err)
	}
	one := &fault{what: p.what, at: time.Now()}
	for _, n := range nodes {
		one.peers = append(one.peers, n.who())
	}
	err := f.strike(nodes, p)
	if err == nil {
		f.mu.Lock()
		f.faults = append(f.faults, one)
		f.mu.Unlock()
	}
	select {
	case <-ctx.Done():
	case <-time.After(p.lasts):
	}
	err = errors.Join(err, f.mend(context.WithoutCancel(ctx), nodes, p))
	one.until = time.Now()
	return err
}

var errDied = errors.New("it has ended by itself, see its log")

func (f *fleet) noteDeath() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.died++
}

func (f *fleet) strike(nodes []*node, p plan) error {
	n := nodes[0]
	switch p.what {
	case killed, renamed:
		return n.kill()
	case stopped:
		return n.process.Signal(syscall.SIGSTOP)
	case cut:
		return f.wire.Cut(n.number, true)
	case parted:
		return f.wire.Part(numbers(nodes), true)
	case jumped:
		return n.setClock(p.jump)
	case filled:
		return n.fill()
	}
	return nil
}

func (f *fleet) mend(ctx context.Context, nodes []*node, p plan) (err error) {
	n := nodes[0]
	switch p.what {
	case stopped:
		err = n.process.Signal(syscall.SIGCONT)
	case cut:
		err = f.wire.Cut(n.number, false)
	case parted:
		return f.wire.Part(numbers(nodes), false)
	case jumped:
		err = n.setClock(0)
	case filled:
		err = os.Remove(n.filler())
	case renamed:
		err = n.newcomer()
	}
	if n.runs() {
		return err
	}
	if !p.what.kills() {
		f.noteDeath()
		err = errors.Join(err, errDied)
	}
	_, startErr := n.start(ctx)
	return errors.Join(err, startErr)
}

func numbers(nodes []*node) (list []int) {
	for _, n := range nodes {
		list = append(list, n.number)
	}
	return list
}
