#!/usr/bin/env bash
# Runs every fuzz target of the module for SECONDS each, one after another, and
# goes on after a failure. Input that fails is kept in the package's
# testdata/fuzz, where each later `go test` tries it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?usage: scripts/fuzz.sh SECONDS}
find_targets() {
	grep -roE --include='*_test.go' '^func Fuzz[A-Z0-9_][A-Za-z0-9_]*' . | sed 's/:func /:/' | sort
}
targets=$(find_targets) || { echo 'no fuzz target found' >&2; exit 1; }

failed=0 count=0
while IFS=: read -r file name; do
	count=$((count + 1))
	if out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "${seconds}s" "$(dirname "$file")" 2>&1); then
		printf 'ok  \t%s\t%s\t%s\n' "$(dirname "$file")" "$name" "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
	else
		failed=$((failed + 1))
		printf 'FAIL\t%s\t%s\n%s\n' "$(dirname "$file")" "$name" "$out"
	fi
done <<<"$targets"
echo "$count fuzz targets, $failed failed"
[ "$failed" -eq 0 ]
