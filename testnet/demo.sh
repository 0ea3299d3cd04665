#!/usr/bin/env bash
# Shows spare in under a minute: five nodes on this machine, a program that
# runs on the one among them that suits best, and why it was that one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."

spare=${SPARE_BIN:-$PWD/bin/spare}
if [[ -z ${SPARE_BIN:-} ]]; then
	make build examples >/dev/null
fi
export SPARE_BIN=$spare

dir=$(mktemp -d "${TMPDIR:-/tmp}/spare-demo.XXXXXX")
finish() {
	"$here/down.sh" --dir "$dir" >/dev/null && rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
[[ -t 1 && -z ${NO_COLOR:-} ]] || say() { printf '\n# %s\n' "$*"; }

# show COMMAND... prints a command as one would type it, and runs it on the
# file that input names, if any.
show() {
	printf '$ %s%s\n' "${*/#$spare/spare}" "${input:+ < $input}"
	"$@" <"${input:-/dev/null}"
}
export SPARE_HOME=$dir/n1

say "Five nodes start and find each other."
up=$("$here/up.sh" -n 5 --dir "$dir")
echo "${up%%$'\n'*}"

say "What the first of them knows of the others: latency it measured, load they told."
show "$spare" peers

say "A program counts lines, words and bytes of a file: on a peer, not here."
input=LICENSE show "$spare" run --remote bin/examples/wordcount.wasm
input=LICENSE show wc

say "Where it ran, and why there."
id=$("$spare" ps -o json | grep -o '"id": *"[a-z2-7]*"' | head -n 1 | cut -d'"' -f4)
show "$spare" show "$id"

say "Again: the program and its compiled code are there by now."
time input=LICENSE show "$spare" run --remote bin/examples/wordcount.wasm

say "The network is taken down. Yours: testnet/up.sh, or spare up."
