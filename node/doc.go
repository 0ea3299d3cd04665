// Package node is the composition root: it opens the home, makes the rooms of
// a node and joins them, runs them, and stops them in order. It holds no logic
// of its own.
package node
