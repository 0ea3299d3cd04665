// Package donor knows what this machine can give: how many slots, how much
// memory, how fast it is, and whether its owner needs it for himself now. It
// keeps what the owner has decided: rules by flags, while the node runs, and in
// config.toml, of which the first that says something holds, and a pause.
//
// It is the only reader of the host's idleness, of what it runs on and of how hot
// it is. It must not run tasks, talk to peers or decide where a task goes, and
// imports no room but protocol.
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
// Elsewhere a node that was told to donate when idle donates whatever programs do,
// and says so; of the battery and of the heat likewise. Whether somebody is at the
// machine is known of terminals and of keyboards and mice at a PS/2 controller or
// by USB on Linux, and by the system's own word on Windows, but for services, and
// on macOS. What is unknown is shown as unknown, and keeps nobody from donating.
// logind's idle hint is not asked: many desktops never set it, and who believed
// it would wait for ever.
//
// Several nodes on one machine are strangers to each other: each sees the guests of
// the others as an owner at work.
package donor
