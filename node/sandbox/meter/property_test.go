package meter

import (
	"math"
	"testing"
)

const (
	seeds        = 300
	generatedGas = 3_000_000
)

// outcome is all that a run of main leaves.
type outcome struct {
	memory []byte
	left   int64
	trap   string
}

func runMain(t *testing.T, engine string, wasm []byte) outcome {
	t.Helper()
	i := instantiate(t, engine, wasm)
	_, left, trap := i.run("main", generatedGas)
	memory, _ := i.Memory().Read(0, i.Memory().Size())
	return outcome{memory, left, trap}
}

// TestMeteredBehavesLikeReference compares metered modules with a slow
// reference that charges each instruction by itself and makes each NaN
// canonical at once.
func TestMeteredBehavesLikeReference(t *testing.T) {
	ended := 0
	for seed := range uint64(seeds) {
		g := newGenerator(seed)
		g.generate()
		if ranToItsEnd := behaves(t, seed, g); ranToItsEnd {
			ended++
		}
	}
	if ended < seeds/3 {
		t.Errorf("only %d of %d modules ran to their end", ended, seeds)
	}
}

// behaves compares a generated module, and returns whether it ran to its end.
func behaves(t *testing.T, seed uint64, g *generator) (ended bool) {
	t.Helper()
	free := depthFree
	depthFree = math.MaxInt64
	metered, reference := rewrite(t, g.module(false)), g.module(true)
	depthFree = free
	for engine := range engines {
		got := runMain(t, engine, metered)
		if got.left < 0 {
			return false
		}
		want := runMain(t, engine, reference)
		if got.trap != want.trap {
			t.Errorf("seed %d, %s: trap %q, want %q", seed, engine, got.trap, want.trap)
		}
		if ended = got.trap == ""; ended && got.left != want.left {
			t.Errorf("seed %d, %s: %d gas used, want %d", seed, engine, generatedGas-got.left, generatedGas-want.left)
		}
		if got.trap != "" && g.floats {
			continue // and nobody reads the memory, which may hold any NaNs
		}
		if d := difference(got.memory, want.memory); d >= 0 {
			t.Errorf("seed %d, %s: memory differs at %#x", seed, engine, d)
		}
	}
	return ended
}

func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// TestWithoutArithmeticNothingChanges compares metered modules that make no
// NaNs with the originals.
func TestWithoutArithmeticNothingChanges(t *testing.T) {
	for seed := uint64(0); seed < seeds; seed += 3 {
		g := newGenerator(seed)
		g.generate()
		plain := g.module(false)
		got := runMain(t, "compiler", rewrite(t, plain))
		if got.left < 0 {
			continue
		}
		i := instantiate(t, "compiler", plain)
		_, err := i.ExportedFunction("main").Call(t.Context())
		memory, _ := i.Memory().Read(0, i.Memory().Size())
		if d := difference(got.memory, memory); d >= 0 || got.trap != reason(err) {
			t.Errorf("seed %d: memory differs at %#x, trap %q, want %q", seed, d, got.trap, reason(err))
		}
	}
}
