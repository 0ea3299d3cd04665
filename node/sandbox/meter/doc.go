// Package meter rewrites a WebAssembly module so that what it does is counted
// and bounded, and equal on every machine: by gas, by the depth of its calls,
// and by the bits of its NaNs.
//
// It reads the module as a stranger's, validates it wholly, and bounds what a
// compiler will have to do ([Ceilings]). It does no I/O, knows no engine and no
// host function, and keeps nothing between two modules.
//
// # What is injected
//
// Two globals, and the exports that name them, behind the module's own; locals
// behind those of each function. No index shifts, so that all other code is
// copied as it is. Custom sections are left out. A start section becomes an
// export, so that the host can give gas before anything runs.
//
// # Gas
//
// Each instruction that runs costs 1, and some more (the table is in gas.go);
// declared locals cost 1 each at a function's entry. A straight piece of code is
// paid as a whole, before it runs. The total of a program that ends is
// thereby the sum over its instructions, whatever engine runs it. Bulk operations
// and what grows a memory or table pay by length before they run. Globals,
// imports, segments, tables and pages of memory cost something before the first
// instruction: the counter starts below zero ([Module.Cost]). So does, at each
// call, a large stack frame.
//
// A function keeps what is left in a local, which it writes to [GasGlobal]
// before calls and at its exits, and reads again after a call when it is next
// needed. It looks whether that is negative at its entry, at the heads of loops
// and before bulk operations, and then ends the guest by unreachable. What is
// left may so be negative by the cost of one straight piece of code, and a
// guest may come to its end, or to a call of the host, with less than nothing
// left: the host takes that for out of gas as well. A host function charges by
// changing the global. After unreachable the global holds what is left. After any
// other trap it holds what was last written to it, at a call or a loop's head:
// what was paid since is lost, which is the same everywhere.
//
// # Depth
//
// A function that calls others takes from [DepthGlobal] an estimate of its
// stack frame (depth.go) and gives it back at its exits.
//
// # NaNs
//
// A result of arithmetic (add, sub, mul, div, sqrt, min, max, ceil, floor, trunc,
// nearest, demote and promote, and their vector forms) that is a NaN becomes
// the positive quiet NaN without payload; NaNs that are only moved, and abs, neg
// and copysign, keep their bits. That costs time, so it is done where something
// may see the bits (nan.go).
//
// # Why a rewriter and not the engine
//
// The engine's own way to stop a guest slows it several times over and leaves
// gaps, and it counts nothing. Injected code costs a few percent, and counts the
// same in every engine.
//
// # Where it differs from the engine
//
// It accepts WebAssembly 2.0, which is wazero's CoreFeaturesV2. wazero 1.12.0
// also lets through, and this package refuses: opcodes of vector instructions
// that are not in their shortest encoding, of which it reads only one byte; a
// typed select of operands of another type; signed integers with some unused bits
// set; types, table initialisers and recursive groups of later proposals that
// are not enabled; constants that refer to mutable globals; tables that are not
// of references. A malformed name section is accepted here, because it is left out.
package meter
