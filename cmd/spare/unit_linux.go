package main

import (
	"fmt"
	"strings"

	"github.com/spare-network/spare/protocol"
)

const (
	unitName  = "spare.service"
	sliceName = "spare.slice"
	// optionsFile is where an administrator adds flags to a machine's service.
	optionsFile = "/etc/default/spare"
)

// text is the unit of the service, or of its slice, for systemd.
//
// Its comments are the reasons for its lines, so that who reads a unit on a machine
// finds them there. What is missing is as deliberate: the jail of workers starts
// user namespaces of its own in what systemd leaves, see node/sandbox/jail.
func (s *service) text(kind string) (string, error) {
	if kind == "slice" {
		return sliceText, nil
	}
	var words []string
	for _, w := range s.command() {
		if strings.ContainsAny(w, "\n\r\x00") {
			return "", protocol.Errorf(protocol.CodeUsage, "a unit cannot hold the line break in %.100q", w)
		}
		words = append(words, unitWord(w))
	}
	command := strings.Join(words, " ")
	if s.machine {
		joins := ""
		if s.group != "" && s.group != systemUser {
			joins = unitJoins + strings.ReplaceAll(s.group, "%", "%%") + "\n"
		}
		return fmt.Sprintf(unitHead+unitMachine+"%s"+unitBoth+unitRoot+"\n[Install]\nWantedBy=multi-user.target\n", command+" $SPARE_OPTIONS", joins), nil
	}
	return fmt.Sprintf(unitHead+unitBoth+"\n[Install]\nWantedBy=default.target\n", command), nil
}

// unitWord writes a word as systemd.service(5) has its command lines.
func unitWord(w string) string {
	w = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(w)
	if w == "" || strings.ContainsAny(w, " \t'\"\\;") {
		return `"` + w + `"`
	}
	return w
}

const unitHead = `# Written by 'spare service install'. To change a line, 'systemctl edit spare';
# 'systemctl edit --user spare' where it is yours alone.
[Unit]
Description=Spare CPU for peers
Documentation=man:spare(1)
# It may be told to listen on an address that comes late.
Wants=network-online.target
After=network-online.target

[Service]
# It says when it serves, so that what comes after it can use it.
Type=notify
ExecStart=%s
`

const unitMachine = `# More flags of 'spare up', as SPARE_OPTIONS="--listen ...".
EnvironmentFile=-/etc/default/spare
User=spare
Group=spare
# The home, /var/lib/spare. Who is in the group passes through it to the socket,
# and sees nothing else there.
StateDirectory=spare
StateDirectoryMode=0710
`

// unitJoins begins the line that makes the node a member of a group.
const unitJoins = `# It lets those of this group use its socket, so it is of it.
SupplementaryGroups=`

const unitBoth = `# What it prints when it starts holds a link that opens the dashboard once, which is
# nothing for a journal. What it logs goes to stderr, and there.
StandardOutput=null
# At an end it is asked first, and hands tasks over; its workers end with it.
KillMode=mixed
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
# A command line that cannot be does not get better.
RestartPreventExitStatus=2

# The node makes a control group for its workers, which bounds what all of them
# take. RestrictNamespaces= must not be set: it denies clone3, which alone starts a
# process in a control group; nor ProtectControlGroups=.
Delegate=yes
# All of it has next to no weight beside what else wants the CPU, whoever wants it:
# that workers are idle counts only within this service.
Slice=spare.slice

# Each of these takes away what neither the node nor a worker needs. PrivateUsers=
# is not among them, since the socket's group would be nobody's; nor is
# MemoryDenyWriteExecute=, since programs are compiled.
UMask=0077
# No program that it might execute has more rights than it; workers set the same.
NoNewPrivileges=yes
# No chmod makes a program that others would execute with its rights.
RestrictSUIDSGID=yes
# Workers are of SCHED_IDLE, which stays allowed; what is denied is to go before all.
RestrictRealtime=yes
# No other execution domain, no calls of other architectures, whose filter nobody
# has written.
LockPersonality=yes
SystemCallArchitectures=native
# The internet, the socket of the API, and what tells about interfaces and routes.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# What services need, and with it what a worker makes its jail of: mounts within a
# namespace of its own, Landlock and seccomp.
SystemCallFilter=@system-service @mount
SystemCallFilter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
`

const unitRoot = `
# These a service manager needs to be root for. Not even in a namespace of its own
# does a worker get a capability of this one.
CapabilityBoundingSet=
# It writes nowhere but in its home.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
# No device is opened. PrivateDevices= would hide when terminals were last used,
# by which the node knows that somebody is there.
DevicePolicy=closed
# ProcSubset= and ProtectProc= are not set: how busy the machine is, and with what
# of its own, the node reads in /proc.
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
# Nothing of its queues and shared memory outlives it.
RemoveIPC=yes
`

// sliceText is the unit of spare.slice.
const sliceText = `# Written by 'spare service install'.
[Unit]
Description=What others want less than anybody on this machine does

[Slice]
# Beside the 100 of each other slice: a fiftieth of a CPU that one of them wants
# all of, and all of it when nobody does. IOWeight= counts where the disk's scheduler
# has weights.
CPUWeight=2
IOWeight=2
`
