#!/usr/bin/env bash
# Breaks what payoutd stands on, at length: every drill of the list below, in
# portions, one after another. Each finished portion is recorded at once with its
# figures, so that Ctrl-C or SIGTERM loses no more than the portion under way, and
# the next start goes on where the last one was stopped. A portion that failed
# stays recorded as that, with its output, and is tried again by the next start.
#
#   scripts/drills.sh                 all that is not recorded yet, then the table
#   scripts/drills.sh NAME…           these drills alone
#   scripts/drills.sh --table         the table of what is recorded, as docs/drills.md has it
#
# Records are in build/drills, or in the folder that DRILLS_DIR names; remove it to
# begin anew. RUN is put before each portion, such as RUN='nice -n 19'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# name | portions | test | variables of a portion | what happens
list='
kills           | 20 | TestKill                      | KILLS=50     | kill -9 of the server at random moments, on SQLite
kills of nodes  | 20 | TestKillNodes                 | KILLS=100    | kill -9 of one or two of three nodes, on PostgreSQL
stops           |  4 | TestDrillDatabaseStops        | DRILLS=5     | PostgreSQL crashes under the node and is started again
no writes       |  4 | TestDrillDatabaseTakesNoWrites| DRILLS=5     | PostgreSQL takes no writes
failover        |  4 | TestDrillFailover             | DRILLS=5     | PostgreSQL is lost, its standby takes over
standby cut off |  4 | TestDrillStandbyCutOff        | DRILLS=5     | PostgreSQL is lost when its standby lacks what it has written
patroni         |  5 | TestDrillPatroni              | DRILLS=2     | Patroni elects another leader, hands over, loses its etcd, dies beside its server
restore         |  5 | TestDrillRestore.*            | DRILLS=2     | the database is lost and restored to an earlier state
connection      |  4 | TestDrillConnection           | DRILLS=5     | the connection to PostgreSQL is cut, down, silent
bad network     |  4 | TestDrillBadNetwork           | DRILLS=2     | the network to PostgreSQL is late, slow, deaf in one direction
receivers cut   |  4 | TestDrillReceiverNetwork      | DRILLS=2     | the network to the receivers of webhooks is cut, late, slow, deaf
answers lost    | 10 | TestDrillLostAnswers          | DRILLS=5     | the connection is cut between COMMIT and its answer
disk full       |  4 | TestDrillDiskFull             | DRILLS=5     | no room on the disk of SQLite, of PostgreSQL, of its log
file read-only  |  4 | TestDrillFileReadOnly         | DRILLS=5     | the file of SQLite can not be changed
disk slow       |  4 | TestDrillDiskSlow             | DRILLS=5     | each sync of the disk of SQLite, of PostgreSQL takes 50 ms to 2 s
clock steps     |  4 | TestDrillClockSteps           | DRILLS=5     | the clock jumps by a day, an hour, a second, forward and back
out of memory   |  4 | TestDrillOutOfMemory          | DRILLS=9     | the kernel kills the node for want of memory
tight memory    |  1 | TestDrillTightMemory          | DRILLS=5     | a node with GOMEMLIMIT=48MiB in a cgroup of 96 MiB
rail slow       |  2 | TestDrillRailSlow             | SLOW=2000    | a rail answers after a minute
overload        |  1 | TestDrillOverload             | OVERLOAD=1m  | three times the requests that the node can answer
pauses          | 20 | TestDrillPausedNode           | DRILLS=10    | a node stands still for longer than its leases
hanging         |  1 | TestDrillHangingReceivers     | HANGING=10000| receivers of webhooks never answer
'

records=${DRILLS_DIR:-build/drills}
mkdir -p "$records"
records=$(cd "$records" && pwd)
book=$records/records.tsv # drill, portion, result, seconds, commit, figures
touch "$book"

trim() { sed 's/^[[:space:]]*//; s/[[:space:]]*$//' <<<"$1"; }

recorded() { # recorded NAME PORTION: it has been carried out, and held
	awk -F '\t' -v d="$1" -v n="$2" '$1 == d && $2 == n && $3 == "ok" { found = 1 } END { exit !found }' "$book"
}

# figures reads lines KIND WHAT NUMBER UNIT with tabs between and makes one of
# them: sums and maxima, in the order in which they first came.
figures() {
	awk -F '\t' '
		!(($1, $2, $4) in seen) { seen[$1, $2, $4] = ++n; kind[n] = $1; what[n] = $2; unit[n] = $4 }
		{ i = seen[$1, $2, $4]; if ($1 == "sum") v[i] += $3; else if (v[i] == "" || $3 + 0 > v[i] + 0) v[i] = $3 }
		END { for (i = 1; i <= n; i++) printf "%s%s:%s:%s:%s", (i > 1 ? ";" : ""), kind[i], what[i], v[i], unit[i] }' "$@"
}

table() {
	echo '| drill | what happens | portions held | failed | figures |'
	echo '| --- | --- | --- | --- | --- |'
	while IFS='|' read -r name portions test variables what; do
		name=$(trim "$name")
		[ -n "$name" ] && grep -q "^$name	" "$book" || continue
		local held failed shown
		held=$(awk -F '\t' -v d="$name" '$1 == d && $3 == "ok"' "$book" | wc -l)
		failed=$(awk -F '\t' -v d="$name" '$1 == d && $3 == "failed"' "$book" | wc -l)
		shown=$(awk -F '\t' -v d="$name" '$1 == d && $3 == "ok" { print $6 }' "$book" | tr ';' '\n' | tr ':' '\t' | grep . | figures |
			tr ';' '\n' | awk -F ':' '{ printf "%s%s %s%s", (NR > 1 ? "; " : ""), $2, ($1 == "max" ? "≤ " : ""), $3 ($4 == "" ? "" : " " $4) }')
		echo "| $name | $(trim "$what") | $held of $(trim "$portions") | $failed | $shown |"
	done <<<"$list"
}

# tidy ends what a portion has left if it was cut off: the test first, whose end
# takes its PostgreSQL servers and their folders with it, then the nodes, then
# whatever else there is of its session.
portion='' place=''
tidy() {
	[ -n "$portion" ] || return 0
	local pid mount
	for pid in $(pgrep -s "$portion"); do
		case $(readlink "/proc/$pid/exe") in
		"$records/e2e.test" | "$place"/*) kill -KILL "$pid" 2>/dev/null || true ;;
		esac
	done
	for _ in $(seq 100); do
		pgrep -s "$portion" >/dev/null || break
		sleep 0.1
	done
	for pid in $(pgrep -s "$portion"); do kill -KILL "$pid" 2>/dev/null || true; done
	awk -v p="$place/" 'index($2, p) == 1 { print $2 }' /proc/mounts | while read -r mount; do umount -l "$mount"; done
	chattr -R -i "$place" 2>/dev/null || true
	rm -rf "$place"
	portion='' place=''
}

stop() {
	trap '' INT TERM
	tidy
	echo "stopped; what has finished is recorded in $book"
	exit 130
}

if [ "${1:-}" = --table ]; then
	table
	exit
fi
for name in "$@"; do
	grep -q "^$name *|" <<<"$list" || { echo "no drill is named $name; there are: $(cut -d'|' -f1 <<<"$list" | sed 's/ *$//' | grep . | paste -sd,)" >&2; exit 2; }
done

commit=$(git describe --always --dirty)
go test -c -o "$records/e2e.test" ./e2e
trap stop INT TERM
failed=0
while IFS='|' read -r name portions test variables what <&3; do
	name=$(trim "$name") portions=$(trim "$portions") test=$(trim "$test") variables=$(trim "$variables")
	[ -n "$name" ] || continue
	if [ $# -gt 0 ]; then
		wanted=0
		for w in "$@"; do [ "$w" != "$name" ] || wanted=1; done
		[ $wanted -eq 1 ] || continue
	fi
	for n in $(seq "$portions"); do
		! recorded "$name" "$n" || continue
		# Others must be able to enter the folder: PostgreSQL runs as a user of its own.
		place=$(mktemp -d "${TMPDIR:-/tmp}/drill-XXXXXX")
		chmod 755 "$place"
		log=$records/${name// /-}-$n.log
		began=$(date +%s)
		# In a session of its own, so that Ctrl-C reaches this script alone, which ends the portion in order.
		(
			cd e2e
			# shellcheck disable=SC2086 # RUN and the variables are several words
			exec setsid ${RUN:-} env $variables TMPDIR="$place" FIGURES="$place/figures" \
				"$records/e2e.test" -test.count=1 -test.timeout=0 -test.v -test.run "^$test\$"
		) >"$log" 2>&1 </dev/null &
		portion=$!
		result=ok status=0
		wait "$portion" || status=$?
		if [ "$status" -gt 128 ]; then # by a signal: it has not come to an end, and says nothing
			echo "killed  $name, portion $n of $portions, by signal $((status - 128)); it is not recorded"
			failed=$((failed + 1))
			tidy
			continue
		fi
		[ "$status" -eq 0 ] || result=failed
		! grep -q '^ *--- SKIP' "$log" || result=skipped
		took=$(($(date +%s) - began))
		figured=''
		[ ! -s "$place/figures" ] || figured=$(figures "$place/figures")
		printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$n" "$result" "$took" "$commit" "$figured" >>"$book"
		printf '%-7s %s, portion %s of %s, %s s\n' "$result" "$name" "$n" "$portions" "$took"
		[ "$result" = ok ] || { echo "        see $log"; cp "$log" "$log.$result.$began"; }
		[ "$result" != failed ] || failed=$((failed + 1))
		tidy
	done
done 3<<<"$list"
table
[ "$failed" -eq 0 ]
