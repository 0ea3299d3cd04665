// Package guests is what the owner of a machine knows and decides of those whose
// tasks run on it: a [Ledger] of what has run for whom, and an [Access] of whose
// tasks may.
//
// It runs nothing, refuses nothing and knows no network: the provider tells what
// has run and asks who may.
//
// # What a crash costs
//
// What has ended is counted in memory and stored about every second with all else
// that is, so that a task costs no write of its own. A node that is killed forgets
// what ended in the last two seconds or three; what its owner has decided is on
// disk before they are told so.
package guests
