// Package job conducts jobs: many tasks submitted together, of one program and
// with an item each. It decides which task is begun when, keeps as many under way
// as the providers can use, and records each end exactly once. How a single task
// finds its way is the requester's, of which it knows one function.
//
// A job is its record, a blob of items, one a line, and the results of its tasks
// in the order of their coming. Nothing else outlasts a restart, nothing grows in
// memory with the number of tasks but two bits for each, and five bytes for those of
// the one job whose tasks were asked for last; no save does.
package job
