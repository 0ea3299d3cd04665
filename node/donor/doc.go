// Package donor knows what this machine can give: how many slots, how much
// memory, how fast it is, and whether its owner needs it for himself now. It
// keeps what the owner has decided: rules by flags, while the node runs, and in
// config.toml, of which the first that says something holds, and a pause.
//
// It is the only reader of the host's idleness and of what it runs on. It must not run tasks, talk to
// peers or decide where a task goes, and imports no room but protocol.
//
// # Why the total minus our own
//
// An idleness check that counts the guests of this node sees them as an owner
// at work, pauses, sees an idle machine and resumes, for ever. So what counts
// is the CPU time that processes other than this node and its descendants use.
// Children that have ended count as ours too, once they are waited for.
//
// # What cannot be known
//
// Only Linux tells the CPU time of all processes in a way that is read here.
// Elsewhere a node that was told to donate when idle donates always, and says
// that it does not know; of the battery likewise. Whether a keyboard is in use,
// and how hot the machine is, is not looked at. Several nodes on one machine are strangers to each
// other: each sees the guests of the others as an owner at work.
package donor
