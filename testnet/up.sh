#!/usr/bin/env bash
# Starts a private network of real nodes on this machine, each with a home and
# kernel-chosen loopback ports of its own, and waits until they all know each
# other. What runs is written to DIR/nodes.json; DIR/nK/command starts node nK
# again on the same addresses; DIR/nK/log is its log.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=testnet/nodes.sh
source "$here/nodes.sh"

usage() {
	cat <<-EOF
		usage: testnet/up.sh [-n N] [--dir DIR] [--network NAME] [--slots N] [--mem SIZE]

		  -n N             how many nodes (5)
		  --dir DIR        where they live ($(default_dir))
		  --network NAME   the name of their network (made up)
		  --slots N        what each node gives (2)
		  --mem SIZE       memory for one task (1GiB)

		SPARE_BIN names the binary; without it that is bin/spare, or one is built
		when there is none or the sources are newer.
	EOF
}

# current ROOT BINARY tells that the binary was built after all that it is made of
# was written last, and can be named in scripts.
current() {
	[[ -x $2 && $2 =~ ^[A-Za-z0-9/._-]+$ ]] &&
		[[ -z $(find "$1" \( -name .git -o -name bin \) -prune -o -type f \( -name '*.go' -o -name 'go.*' -o -path '*/web/*' \) -newer "$2" -print -quit) ]]
}

readonly start_limit=30 # seconds for one node to answer
readonly books_limit=60 # seconds for all to know each other

count=5
dir=$(default_dir)
network="testnet-$$-$RANDOM"
slots=2
memory=1GiB
while (($# > 0)); do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	-n | --dir | --network | --slots | --mem)
		(($# > 1)) || die "$1 needs a value"
		case $1 in
		-n) count=$2 ;;
		--dir) dir=$2 ;;
		--network) network=$2 ;;
		--slots) slots=$2 ;;
		--mem) memory=$2 ;;
		esac
		shift 2
		;;
	*)
		echo "${0##*/}: there is no $1" >&2
		usage >&2
		exit 2
		;;
	esac
done
[[ $count =~ ^[1-9][0-9]?$ ]] || die "-n takes a number from 1 to 99"
check_dir "$dir"

# The folder is ours when it is empty or was a testnet before.
(umask 077 && mkdir -p "$dir")
[[ -O $dir ]] || die "$dir belongs to somebody else; name another folder with --dir"
if [[ ! -e $dir/$mark && -n $(ls -A "$dir") ]]; then
	die "$dir holds other things; name another folder with --dir"
fi
for home in $(homes "$dir"); do
	pid=$(node_pid "$home")
	[[ -z $pid ]] || die "a testnet runs in $dir (process $pid); end it with testnet/down.sh --dir $dir"
done
rm -rf "$dir"/n[0-9]* "$dir/nodes.json"
touch "$dir/$mark"

spare=${SPARE_BIN:-}
if [[ -z $spare ]]; then
	root=$(cd "$here/.." && pwd)
	spare=$root/bin/spare
	if ! current "$root" "$spare"; then
		echo "building spare" >&2
		spare=$dir/spare
		version=$(git -C "$root" describe --tags --always --dirty 2>/dev/null || echo unknown)
		(cd "$root" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$spare" ./cmd/spare)
	fi
fi
[[ $spare == /* ]] || spare=$PWD/$spare
[[ -x $spare ]] || die "SPARE_BIN names no program: $spare"
[[ $spare =~ ^[A-Za-z0-9/._-]+$ ]] || die "the path of the binary must be of letters, digits and / . _ -: $spare"

# Whatever goes wrong from here on, nothing stays behind.
failed() {
	"$here/down.sh" --dir "$dir" >&2 || true
}
trap failed EXIT
trap 'exit 130' INT TERM

now_ms() {
	if [[ -n ${EPOCHREALTIME:-} ]]; then
		local us=${EPOCHREALTIME/[.,]/}
		echo $((us / 1000))
	else # bash before 5
		echo $(($(date +%s) * 1000))
	fi
}

secret=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')

# write_command NAME FLAG... writes the script that starts a node.
write_command() {
	local home=$dir/$1
	shift
	cat >"$home/command" <<-EOF
		#!/bin/sh
		# Starts this node, the same as before.
		echo \$\$ >"$home/pid"
		exec "$spare" up --home "$home" --network "$network" --slots "$slots" --mem "$memory" --donate always --no-dashboard $* >>"$home/log" 2>&1 </dev/null
	EOF
	chmod 700 "$home/command"
}

# start NAME FLAG... starts a node in a process group of its own, so that a
# Ctrl-C that is meant for somebody else does not end it.
start() {
	local home=$dir/$1
	(umask 077 && mkdir -p "$home/networks" && echo "$secret" >"$home/networks/$network.secret")
	write_command "$@"
	set -m
	nohup "$home/command" >/dev/null 2>&1 &
	set +m
	disown
}

# addresses NAME prints the addresses of a running node, one a line.
addresses() {
	"$spare" --home "$dir/$1" status -o json 2>/dev/null | tr -d ' \t\n' |
		sed -n 's/.*"addrs":\[\([^]]*\)\].*/\1/p' | tr ',' '\n' | tr -d '"'
}

# ended HOME tells that a node which was started has ended. Its PID may just be
# written, and its command line not be there yet: neither says so.
ended() {
	local pid=
	[[ -f $1/pid ]] && pid=$(<"$1/pid")
	[[ $pid =~ ^[0-9]+$ ]] && ! kill -0 "$pid" 2>/dev/null
}

# await_start NAME waits until a node answers, and fixes its addresses in its
# command, so that it is found again after a restart.
await_start() {
	local name=$1 home=$dir/$1 limit=$((SECONDS + start_limit)) addrs a listen=()
	shift
	until addrs=$(addresses "$name") && [[ -n $addrs ]]; do
		if ((SECONDS >= limit)) || ended "$home"; then
			tail -n 20 "$home/log" >&2 || true
			die "$name did not start, see $home/log"
		fi
		sleep 0.1
	done
	for a in $addrs; do
		listen+=(--listen "${a%/p2p/*}")
	done
	write_command "$name" "${listen[@]}" "$@"
}

# known NAME prints how many other nodes' offers a node has.
known() {
	"$spare" --home "$dir/$1" peers -o json 2>/dev/null |
		grep -o '"offer_age_ms": *[0-9]' | wc -l
}

# write_nodes writes nodes.json.
write_nodes() {
	local i a name list
	{
		echo "["
		for ((i = 1; i <= count; i++)); do
			name=n$i
			list=
			for a in $(addresses "$name"); do
				list+=${list:+, }\"$a\"
			done
			printf '  {"name": "%s", "home": "%s", "peer": "%s", "pid": %d, "network": "%s", "addrs": [%s]}' \
				"$name" "$dir/$name" "${a##*/p2p/}" "$(<"$dir/$name/pid")" "$network" "$list"
			((i == count)) || printf ','
			printf '\n'
		done
		echo "]"
	} >"$dir/nodes.json.new"
	mv "$dir/nodes.json.new" "$dir/nodes.json"
}

start n1
await_start n1
bootstrap=()
for a in $(addresses n1); do
	bootstrap+=(--bootstrap "$a")
done
for ((i = 2; i <= count; i++)); do
	start "n$i" "${bootstrap[@]}"
done
started=$(now_ms)
for ((i = 2; i <= count; i++)); do
	await_start "n$i" "${bootstrap[@]}"
done

for ((i = 1; i <= count; i++)); do
	until (($(known "n$i") == count - 1)); do
		if (($(now_ms) - started > books_limit * 1000)); then
			die "n$i knows $(known "n$i") of $((count - 1)) others after $books_limit s, see $dir/n$i/log"
		fi
		sleep 0.1
	done
done
took=$(($(now_ms) - started))
write_nodes
trap - EXIT

printf '%d nodes of network %s know each other, %d.%01d s after the last was started\n' \
	"$count" "$network" $((took / 1000)) $((took % 1000 / 100))
cat <<EOF
  nodes    $dir/nodes.json
  look     $spare --home $dir/n1 peers
  run      echo hello | $spare --home $dir/n1 run --remote bin/examples/wordcount.wasm   (make examples)
  end      testnet/down.sh --dir $dir
EOF
