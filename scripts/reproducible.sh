#!/usr/bin/env bash
# Builds the last commit in two folders, the second time from nothing, and wants
# the same bytes. Whoever has a tag, its Go and this script can so see that a
# published program is of the published source.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
for n in first a/second/and/deeper; do
	mkdir -p "$work/$n"
	git clone -q --no-hardlinks . "$work/$n/payoutd"
done
(cd "$work/first/payoutd" && make build)
(cd "$work/a/second/and/deeper/payoutd" && GOCACHE="$work/cache" make build)
first=$(sha256sum <"$work/first/payoutd/bin/payoutd") second=$(sha256sum <"$work/a/second/and/deeper/payoutd/bin/payoutd")
if [ "$first" != "$second" ]; then
	echo "two builds of $(git rev-parse HEAD) differ: $first, $second" >&2
	exit 1
fi
echo "two builds of $(git rev-parse HEAD) with $(go env GOVERSION) are the same: ${first%% *}"
