// Package sim runs the decisions of package market in virtual time, among
// thousands of made-up providers and millions of tasks, to show what they are
// worth: how many wrong results are accepted, and what it costs to find them.
//
// It must not hold a decision of its own. Providers here are nothing but a
// share of the tasks and a habit of lying; no program is run and no message is
// sent.
package sim
