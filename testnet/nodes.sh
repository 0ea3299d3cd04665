# What up.sh and down.sh both know of the node processes of a testnet.
# shellcheck shell=bash

# mark is a file by which a testnet's folder is known.
# shellcheck disable=SC2034 # the scripts use it
readonly mark=.spare-testnet

# default_dir is where a testnet lives that was given no --dir.
default_dir() {
	local tmp=${TMPDIR:-/tmp}
	echo "${tmp%/}/spare-testnet-$UID"
}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# check_dir refuses what cannot be written plainly into JSON and scripts, and
# what makes the path of a node's socket longer than a socket's path may be.
check_dir() {
	[[ $1 =~ ^/[A-Za-z0-9/._-]+$ ]] || die "the folder $1 must be an absolute path of letters, digits and / . _ -"
	local socket="$1/n100/api.sock"
	((${#socket} < 104)) || die "the folder $1 has too long a name for the sockets in it; try --dir /tmp/testnet"
}

# command_line prints the command line of a process, or nothing.
command_line() {
	if [[ -r /proc/$1/cmdline ]]; then
		# The process may end meanwhile; the order matters to who complains.
		tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || true
	else
		ps -ww -o command= -p "$1" 2>/dev/null || true
	fi
}

# node_pid prints the PID of the node of a home, if that process still is that
# node, or its command about to become it: the system may have given its number
# to another.
node_pid() {
	local pid line
	[[ -f $1/pid ]] || return 0
	pid=$(<"$1/pid")
	[[ $pid =~ ^[0-9]+$ ]] || return 0
	line=" $(command_line "$pid") "
	if [[ $line == *" up --home $1 "* || $line == *" $1/command "* ]]; then
		echo "$pid"
	fi
}

# homes prints the homes in a testnet's folder.
homes() {
	local home
	for home in "$1"/n[0-9]*; do
		if [[ -d $home ]]; then
			echo "$home"
		fi
	done
}
