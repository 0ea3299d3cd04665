// Command spare runs programs on the idle CPU of nearby peers, and lends its
// own.
//
// It reads flags, signals and files, and turns answers into text and exit
// statuses. Only 'spare up' builds a node; every other command speaks with the
// running one through its API. stdout is data, stderr is everything else.
//
// It must stay quick to start: nothing is read, opened or computed that the
// command at hand does not need.
package main
