#!/usr/bin/env bash
# Ends the nodes of a testnet that up.sh started, and no other process. Their
# homes and logs stay until the next up.sh in the same folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=testnet/nodes.sh
source "$here/nodes.sh"

readonly patience=10 # seconds between asking and killing

dir=$(default_dir)
while (($# > 0)); do
	case $1 in
	--dir)
		(($# > 1)) || die "$1 needs a value"
		dir=$2
		shift 2
		;;
	*)
		echo "usage: testnet/down.sh [--dir DIR]   ends the testnet in DIR ($(default_dir))" >&2
		[[ $1 == -h || $1 == --help ]] && exit 0
		exit 2
		;;
	esac
done
check_dir "$dir"
[[ -e $dir/$mark ]] || die "there is no testnet in $dir; name its folder with --dir"

# tell SIGNAL sends a signal to each node that still runs, prints how many.
tell() {
	local home pid n=0
	for home in $(homes "$dir"); do
		pid=$(node_pid "$home")
		if [[ -n $pid ]] && kill "-$1" "$pid" 2>/dev/null; then
			n=$((n + 1))
		fi
	done
	echo "$n"
}

asked=$(tell TERM)
limit=$((SECONDS + patience))
while (($(tell 0) > 0 && SECONDS < limit)); do
	sleep 0.1
done
killed=$(tell KILL)
if ((killed > 0)); then
	echo "$asked nodes ended, $killed of them killed after $patience s; logs are in $dir/n*/log"
	exit 1
fi
echo "$asked nodes ended; logs are in $dir/n*/log"
