#!/usr/bin/env bash
# Runs every fuzz target of the module for SECONDS each, one on each core at a
# time, and goes on after a failure. Input that fails is kept in the package's
# testdata/fuzz, where each later `go test` tries it again. With FUZZ_KEEP=N so
# many of the inputs that reached further are kept there too, small and large
# ones, in place of those that were kept before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export seconds=${1:?usage: scripts/fuzz.sh SECONDS}
export keep=${FUZZ_KEEP:-0}
cache="$(go env GOCACHE)/fuzz"
export cache

# keep_found PACKAGE TARGET copies inputs of up to 2 KiB from Go's cache, evenly
# by size. Kept ones are named so, to be told from those that failed. One with
# as many digits in a row as a card has is not kept: it may be somebody's.
keep_found() {
	local found=() to="$1/testdata/fuzz/$2" i
	mapfile -t found < <(find "$cache/$(go list "$1")/$2" -type f -size -2049c -printf '%s %p\n' 2>/dev/null |
		sort -n | cut -d' ' -f2- | xargs -r grep -LE '[0-9]{13}')
	mkdir -p "$to"
	rm -f "$to"/kept-*
	local count=$((${#found[@]} < keep ? ${#found[@]} : keep))
	for ((i = 0; i < count; i++)); do
		cp "${found[i * ${#found[@]} / count]}" "$to/kept-$(printf %02d $((i + 1)))"
	done
	rmdir --ignore-fail-on-non-empty "$to"
}

# time_over OUTPUT: all that is wrong is that the time is over, which Go before 1.27
# takes for a failure now and then (go.dev/issue/75804).
time_over() { [ "$(grep -A 1 -e '^--- FAIL: ' <<<"$1" | tail -n 1)" = '    context deadline exceeded' ]; }

# fuzz PACKAGE TARGET. An input is made smaller for a second at most: by default it
# is a minute, which can be all the time that there is.
fuzz() {
	local out
	if out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "${seconds}s" -fuzzminimizetime 1s -parallel 1 "$1" 2>&1) || time_over "$out"; then
		printf 'ok  \t%s\t%s\t%s\n' "$1" "$2" "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
		[ "$keep" -eq 0 ] || keep_found "$1" "$2"
	else
		printf 'FAIL\t%s\t%s\n%s\n' "$1" "$2" "$out"
		return 1
	fi
}
export -f keep_found time_over fuzz

find_targets() {
	grep -roE --include='*_test.go' '^func Fuzz[A-Z0-9_][A-Za-z0-9_]*' . | sed -E 's|/[^/]*:func | |' | sort
}
targets=$(find_targets) || { echo 'no fuzz target found' >&2; exit 1; }

failed='some'
! xargs -P "$(nproc)" -L 1 bash -c 'fuzz "$@"' fuzz <<<"$targets" || failed='none'
echo "$(wc -l <<<"$targets") fuzz targets, $failed failed"
[ "$failed" = none ]
