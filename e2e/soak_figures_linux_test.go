package e2e

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Columns of minutes.csv after the time and the fault. Times are milliseconds,
// memory and sizes MiB; what could not be learned is left empty.
const (
	colLeg = iota
	colElapsed
	colBegun
	colDone
	colFailed
	colMissed
	colFlying
	colHooks
	colRepeats
	colAnswerP50
	colAnswerP99
	colFinishP50
	colFinishP99
	colStartA // how often node a was started: its memory begins anew
	colRSSA
	colHeapA
	colGoroutinesA
	colStartB
	colRSSB
	colHeapB
	colGoroutinesB
	colGenerator
	colDatabase
	colLog
	colRails
	colFree
	columns
)

var columnNames = [columns]string{
	"leg", "elapsed_s", "begun", "done", "failed_requests", "missed", "under_way", "webhooks", "repeats",
	"answer_p50_ms", "answer_p99_ms", "finish_p50_ms", "finish_p99_ms",
	"a_start", "a_rss_mib", "a_heap_mib", "a_goroutines", "b_start", "b_rss_mib", "b_heap_mib", "b_goroutines",
	"generator_mib", "database_mib", "wal_mib", "rails_mib", "disk_free_mib",
}

// sampled is one minute.
type sampled struct {
	at, fault string
	v         [columns]float64
}

// sizes is one table at one time.
type sizes struct {
	elapsed, done           float64 // seconds of load and payouts before
	table                   string
	heap, index, live, dead float64 // bytes and rows
	vacuums                 float64
}

var sizesNames = []string{"elapsed_s", "payouts", "table", "table_bytes", "index_bytes", "live_rows", "dead_rows", "autovacuums"}

const sampleEvery = time.Minute

// sample appends a line to minutes.csv for each minute of load, and one for each
// table to tables.csv.
func (s *soak) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	fault := ""
	for {
		select {
		case <-tick.C:
		case <-s.stopped:
			return
		case <-ctx.Done():
			return
		}
		before := fault
		fault = s.faults(s.elapsed() - sampleEvery)
		x := s.look()
		x.fault = cmp.Or(fault, after(before))
		if why := s.partners.failed(); why != "" {
			s.say("requests that were made again in the last minute: %s", why)
		}
		if err := appendCSV(s.path("minutes.csv"), slices.Concat([]string{"time", "fault"}, columnNames[:]), x.line()); err != nil {
			s.Errorf("minutes.csv: %v", err)
		}
		if free := x.v[colFree]; free < float64(s.freeGB)*1024 {
			s.say("%.0f MiB are free on the disk: stopping in order", free)
			s.stop()
		}
		s.save()
	}
}

// after names a minute that follows one with a fault.
func after(fault string) string {
	if fault == "" || strings.HasPrefix(fault, "after ") {
		return ""
	}
	return "after " + fault
}

// faults names those that have been since a time of the load.
func (s *soak) faults(since time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, t := range s.State.Troubles {
		if t.Broke+t.Lasted+t.Caught > since.Seconds() {
			names = append(names, t.Name)
		}
	}
	if s.breaking != "" {
		names = append(names, s.breaking)
	}
	return strings.Join(names, " + ")
}

func (s *soak) tally(m *minute) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.State.Failed += m.failed.Load()
	s.State.Missed += m.missed.Load()
	s.State.Repeats += m.repeats.Load()
}

// look samples everything.
func (s *soak) look() sampled {
	x := sampled{at: time.Now().UTC().Format(time.RFC3339)}
	for i := range x.v {
		x.v[i] = math.NaN()
	}
	m := s.partners.minute.Swap(new(minute))
	s.tally(m)
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	s.mu.Lock()
	legs, starts := s.State.Legs, s.State.Starts
	s.mu.Unlock()
	for at, v := range map[int]float64{
		colLeg: float64(legs), colElapsed: s.elapsed().Seconds(),
		colBegun: float64(m.begun.Load()), colDone: float64(m.done.Load()), colFailed: float64(m.failed.Load()), colMissed: float64(m.missed.Load()),
		colFlying: float64(s.partners.flying.Load()), colHooks: float64(m.hooks.Load()), colRepeats: float64(m.repeats.Load()),
		colAnswerP50: ms(m.answers.Percentile(50)), colAnswerP99: ms(m.answers.Percentile(99)),
		colFinishP50: ms(m.finishes.Percentile(50)), colFinishP99: ms(m.finishes.Percentile(99)),
		colStartA: float64(starts[0]), colStartB: float64(starts[1]),
		colGenerator: memoryOf(os.Getpid(), "RssAnon:"), colRails: folderMiB(filepath.Join(s.data, "sim")), colFree: freeMiB(s.dir),
	} {
		x.v[at] = v
	}
	for n, at := range []int{colRSSA, colRSSB} {
		u := s.usage(n)
		x.v[at], x.v[at+1], x.v[at+2] = u.rss, u.heap, u.goroutines
	}
	if err := s.lookAtDatabase(&x); err != nil {
		s.mu.Lock()
		broken := s.breaking
		s.mu.Unlock()
		if broken == "" {
			s.say("sizes of the database: %v", err)
		}
	}
	return x
}

func (s *soak) lookAtDatabase(x *sampled) error {
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.db)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, `SELECT pg_database_size(current_database())::float8 / 1048576, (SELECT sum(size)::float8 FROM pg_ls_waldir()) / 1048576`).
		Scan(&x.v[colDatabase], &x.v[colLog]); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `SELECT relname, pg_table_size(relid)::float8, pg_indexes_size(relid)::float8, n_live_tup::float8, n_dead_tup::float8,
		autovacuum_count::float8 FROM pg_stat_user_tables ORDER BY relname`)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (z sizes, err error) {
		return z, row.Scan(&z.table, &z.heap, &z.index, &z.live, &z.dead, &z.vacuums)
	})
	if err != nil {
		return err
	}
	done := float64(s.partners.begun() - s.partners.flying.Load())
	for _, z := range list {
		z.elapsed, z.done = x.v[colElapsed], done
		if err := appendCSV(s.path("tables.csv"), sizesNames, z.line()); err != nil {
			return err
		}
	}
	return nil
}

func number(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

func parseNumber(text string) (float64, error) {
	if text == "" {
		return math.NaN(), nil
	}
	return strconv.ParseFloat(text, 64)
}

func (x sampled) line() []string {
	line := []string{x.at, x.fault}
	for _, v := range x.v {
		line = append(line, number(v))
	}
	return line
}

func (z sizes) line() []string {
	return []string{number(z.elapsed), number(z.done), z.table, number(z.heap), number(z.index), number(z.live), number(z.dead), number(z.vacuums)}
}

// appendCSV appends a line, after the names if the file is new.
func appendCSV(path string, names, line []string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w := csv.NewWriter(f)
	if info.Size() == 0 {
		_ = w.Write(names)
	}
	_ = w.Write(line)
	w.Flush()
	return errors.Join(w.Error(), f.Close())
}

// readCSV reads all lines but the names; none of a file that is not there.
func readCSV(path string) ([][]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	return lines[1:], nil
}

func readMinutes(path string) (list []sampled, err error) {
	lines, err := readCSV(path)
	for _, line := range lines {
		x := sampled{at: line[0], fault: line[1]}
		for i := range x.v {
			if x.v[i], err = parseNumber(line[2+i]); err != nil {
				return nil, err
			}
		}
		list = append(list, x)
	}
	return list, err
}

func readSizes(path string) (list []sizes, err error) {
	lines, err := readCSV(path)
	for _, line := range lines {
		z := sizes{table: line[2]}
		for at, to := range map[int]*float64{0: &z.elapsed, 1: &z.done, 3: &z.heap, 4: &z.index, 5: &z.live, 6: &z.dead, 7: &z.vacuums} {
			if *to, err = parseNumber(line[at]); err != nil {
				return nil, err
			}
		}
		list = append(list, z)
	}
	return list, err
}

// askMax bounds an answer of a node's socket; a profile of a busy machine takes its
// time.
const askMax = 30 * time.Second

// ask asks a node at its socket.
func ask(ctx context.Context, socket, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askMax)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://payoutd"+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	return string(b), err
}

// memoryOf is a line of /proc/PID/status in MiB, NaN without one.
func memoryOf(pid int, name string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return math.NaN()
	}
	_, rest, _ := strings.Cut(string(b), name)
	kib, err := strconv.ParseFloat(cmp.Or(strings.Fields(rest)...), 64)
	if err != nil {
		return math.NaN()
	}
	return kib / 1024
}

func freeMiB(dir string) float64 {
	var f syscall.Statfs_t
	if err := syscall.Statfs(dir, &f); err != nil {
		return math.NaN()
	}
	return float64(f.Bavail) * float64(f.Bsize) / (1 << 20)
}

// folderMiB is what the files of a folder take.
func folderMiB(dir string) (sum float64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return math.NaN()
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sum += float64(info.Size()) / (1 << 20)
		}
	}
	return sum
}

// slope fits a line to y over x, with an offset of its own for each group, and
// returns its rise per unit of x with the standard error of that; NaN of too few.
func slope(x, y []float64, group []int) (rise, err float64) {
	sumX, sumY, count := map[int]float64{}, map[int]float64{}, map[int]float64{}
	for i := range x {
		sumX[group[i]] += x[i]
		sumY[group[i]] += y[i]
		count[group[i]]++
	}
	var xx, xy, yy float64
	for i := range x {
		g := group[i]
		dx, dy := x[i]-sumX[g]/count[g], y[i]-sumY[g]/count[g]
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	free := float64(len(x) - len(count) - 1)
	if free < 1 || xx == 0 {
		return math.NaN(), math.NaN()
	}
	rise = xy / xx
	return rise, math.Sqrt(max(yy-rise*xy, 0) / free / xx)
}

func TestSlope(t *testing.T) {
	t.Parallel()
	var x, y []float64
	var group []int
	for i := range 40 {
		g := i / 20
		x, group = append(x, float64(i)), append(group, g)
		y = append(y, float64(3*i-100*g)+float64(i%2)) // another level in each group, and a little noise
	}
	if rise, err := slope(x, y, group); math.Abs(rise-3) > 3*err || err > 0.05 || err <= 0 {
		t.Errorf("%f ± %f", rise, err)
	}
	if rise, _ := slope(x[:2], y[:2], group[:2]); !math.IsNaN(rise) {
		t.Errorf("two points have the slope %f", rise)
	}
}

func median(list []float64) float64 {
	list = slices.DeleteFunc(slices.Clone(list), math.IsNaN)
	if len(list) == 0 {
		return math.NaN()
	}
	slices.Sort(list)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// quarter picks the lines in which the n-th quarter of the time ends, 0 to 3.
func quarter(list []sampled, n int) (part []sampled) {
	if len(list) == 0 {
		return nil
	}
	whole := list[len(list)-1].v[colElapsed]
	for _, x := range list {
		if q := min(int(4*x.v[colElapsed]/whole), 3); q == n {
			part = append(part, x)
		}
	}
	return part
}

func column(list []sampled, at int) (values []float64) {
	for _, x := range list {
		values = append(values, x.v[at])
	}
	return values
}

func quiet(list []sampled) []sampled {
	return slices.DeleteFunc(slices.Clone(list), func(x sampled) bool { return x.fault != "" })
}

// What a long soak has to keep to.
const (
	soakJudges   = 30 * time.Minute // what is shorter is not judged
	soakLatency  = 1.5              // times what answers took in the first quarter
	soakHeapRise = 4.0              // MiB of live heap an hour
	soakWarmUp   = 5                // minutes after the start of a node whose memory is not looked at
	soakBloat    = 1.3              // times what a table took per payout in the first half
	soakBytes    = 16               // and so many bytes per payout above that
)

// figure is a column that the summary shows by quarters.
type figure struct {
	name, format string
	at           int
	flat         bool // it must not rise above soakLatency times what it was
}

var figuresOfSoak = []figure{
	{"payouts done in a minute", "%.0f", colDone, false},
	{"an answer p50, ms", "%.1f", colAnswerP50, true},
	{"an answer p99, ms", "%.1f", colAnswerP99, true},
	{"confirm to paid and told p50, ms", "%.1f", colFinishP50, true},
	{"confirm to paid and told p99, ms", "%.1f", colFinishP99, true},
	{"node a: in memory, MiB", "%.0f", colRSSA, false},
	{"node a: live heap, MiB", "%.1f", colHeapA, false},
	{"node a: goroutines", "%.0f", colGoroutinesA, false},
	{"node b: in memory, MiB", "%.0f", colRSSB, false},
	{"node b: live heap, MiB", "%.1f", colHeapB, false},
	{"node b: goroutines", "%.0f", colGoroutinesB, false},
	{"partners: in memory, MiB", "%.0f", colGenerator, false},
	{"database, MiB", "%.0f", colDatabase, false},
	{"write-ahead log, MiB", "%.0f", colLog, false},
}

// growing is a column of memory whose rise the summary shows.
type growing struct {
	name      string
	at, start int
	bounded   bool // it must not rise by more than soakHeapRise
}

var memoriesOfSoak = []growing{
	{"node a: in memory", colRSSA, colStartA, false},
	{"node a: live heap", colHeapA, colStartA, true},
	{"node b: in memory", colRSSB, colStartB, false},
	{"node b: live heap", colHeapB, colStartB, true},
	{"partners: in memory", colGenerator, colLeg, false},
}

// judge says what a long soak has not kept to.
func judge(list []sampled, tables []sizes) (breaches []string) {
	breach := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	still := quiet(list)
	for _, f := range figuresOfSoak {
		first, last := median(column(quarter(still, 0), f.at)), median(column(quarter(still, 3), f.at))
		if f.flat && !(last <= soakLatency*first) {
			breach("%s: %.1f in the last quarter and %.1f in the first, want %.1f times that at most", f.name, last, first, soakLatency)
		}
	}
	for _, g := range memoriesOfSoak {
		if rise, err := rises(list, g.at, g.start); g.bounded && !(rise-2*err <= soakHeapRise) {
			breach("%s grows by %.1f ± %.1f MiB an hour, want %.0f at most", g.name, rise, err, soakHeapRise)
		}
	}
	for _, t := range growths(tables) {
		first, second := t.heap[0]+t.index[0], t.heap[1]+t.index[1]
		if t.last.table == "archived" { // it grows with what is archived, not with payouts
			continue
		}
		if second > soakBloat*max(first, 0)+soakBytes {
			breach("table %s grows by %.0f bytes per payout in the second half and by %.0f in the first, want %.1f times that and %d at most",
				t.last.table, second, first, soakBloat, soakBytes)
		}
	}
	return breaches
}

// rises finds how a column of memory grows, in MiB an hour, over all runs of a
// node; at is the column and start that of the runs.
func rises(list []sampled, at, start int) (rise, err float64) {
	var x, y []float64
	var group []int
	seen := map[int]int{}
	for _, m := range list {
		g := int(m.v[start])
		if seen[g]++; seen[g] <= soakWarmUp || math.IsNaN(m.v[at]) || m.fault != "" {
			continue
		}
		x, y, group = append(x, m.v[colElapsed]/3600), append(y, m.v[at]), append(group, g)
	}
	return slope(x, y, group)
}

// summarize writes summary.md, and fails the test where a long soak has not kept
// to what it should.
func (s *soak) summarize(known soakOutcome) {
	list, err := readMinutes(s.path("minutes.csv"))
	if err != nil {
		s.Fatal(err)
	}
	tables, err := readSizes(s.path("tables.csv"))
	if err != nil {
		s.Fatal(err)
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	share := ""
	if s.State.Maximum > 0 {
		share = fmt.Sprintf(", %.0f %% of the maximum of %.0f in a closed loop of %d", 100*s.rate/s.State.Maximum, s.State.Maximum, soakClients)
	}
	line("%s of load in %d legs at %.0f payouts a second%s; seed %d.\n", s.State.Elapsed.Round(time.Second), s.State.Legs, s.rate, share, s.State.Seed)
	line("%d payouts were begun: %d were accepted, paid once and told, %d failed since their check took too long. %d requests failed and were made again, %d webhooks came again, "+
		"%d payouts were not begun since %d were under way. payoutd archive ran %d times, for %.1f s at most, and took %d sessions out.\n",
		s.partners.begun(), known.paid, known.failed, s.State.Failed, s.State.Repeats, s.State.Missed, soakFlights, s.State.Sweeps, s.State.Sweeping.Seconds(), s.State.Swept)

	still := quiet(list)
	line("| minutes without a fault | 1st quarter | 2nd | 3rd | 4th |")
	line("| --- | --- | --- | --- | --- |")
	line("| how many | %d | %d | %d | %d |", len(quarter(still, 0)), len(quarter(still, 1)), len(quarter(still, 2)), len(quarter(still, 3)))
	for _, f := range figuresOfSoak {
		text := "| " + f.name
		for n := range 4 {
			text += " | " + fmt.Sprintf(f.format, median(column(quarter(still, n), f.at)))
		}
		line("%s |", text)
	}
	line("")
	for _, g := range memoriesOfSoak {
		rise, err := rises(list, g.at, g.start)
		line("- %s: %+.1f ± %.1f MiB an hour", g.name, rise, err)
	}
	line("\n| table | bytes per payout, 1st half | 2nd half | indexes, 1st half | 2nd half | rows at the end | dead | autovacuums |")
	line("| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, t := range growths(tables) {
		line("| `%s` | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |",
			t.last.table, t.heap[0], t.heap[1], t.index[0], t.index[1], t.last.live, t.last.dead, t.last.vacuums)
	}
	s.troubles(line)
	if err := os.WriteFile(s.path("summary.md"), []byte(b.String()), 0o600); err != nil {
		s.Fatal(err)
	}
	s.say("the summary is in %s", s.path("summary.md"))
	if s.State.Elapsed >= soakJudges {
		for _, breach := range judge(list, tables) {
			s.Error(breach)
		}
	}
}

// growth is how a table and its indexes have grown, in bytes per payout, in the
// first half of the payouts and in the second.
type growth struct {
	heap, index [2]float64
	last        sizes
}

// growths are of tables above a megabyte, by name.
func growths(all []sizes) (list []growth) {
	byName := map[string][]sizes{}
	for _, z := range all {
		byName[z.table] = append(byName[z.table], z)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		rows := byName[name]
		first, last := rows[0], rows[len(rows)-1]
		if last.heap+last.index < 1<<20 {
			continue
		}
		half := slices.IndexFunc(rows, func(z sizes) bool { return z.done >= (first.done+last.done)/2 })
		g := growth{last: last}
		for n, part := range [2][2]sizes{{first, rows[half]}, {rows[half], last}} {
			payouts := max(part[1].done-part[0].done, 1)
			g.heap[n], g.index[n] = (part[1].heap-part[0].heap)/payouts, (part[1].index-part[0].index)/payouts
		}
		list = append(list, g)
	}
	return list
}

func TestJudge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(minute int, x *sampled, z *sizes)
		want   string // "" for nothing
	}{
		{"all is flat", func(int, *sampled, *sizes) {}, ""},
		{"faults are slow", func(minute int, x *sampled, _ *sizes) {
			if minute%6 == 5 {
				x.fault, x.v[colAnswerP99], x.v[colHeapB] = "a node killed", 30_000, 200
			}
		}, ""},
		{"a node starts again with less", func(minute int, x *sampled, _ *sizes) {
			x.v[colStartA], x.v[colHeapA] = float64(minute/30), 10+float64(minute%30)/100
		}, ""},
		{"answers become slow", func(minute int, x *sampled, _ *sizes) { x.v[colAnswerP99] += float64(minute) }, "an answer p99"},
		{"ends become slow", func(minute int, x *sampled, _ *sizes) { x.v[colFinishP50] *= 1 + float64(minute)/60 }, "confirm to paid and told p50"},
		{"a node leaks", func(minute int, x *sampled, _ *sizes) { x.v[colHeapB] += float64(minute) / 5 }, "node b: live heap grows by 12.0"},
		{"a node leaks between restarts", func(minute int, x *sampled, _ *sizes) {
			x.v[colStartA], x.v[colHeapA] = float64(minute/30), 10+float64(minute%30)/5
		}, "node a: live heap grows"},
		{"an index bloats", func(minute int, _ *sampled, z *sizes) { z.index += float64(minute) * float64(minute) * 1e5 }, "table sessions grows"},
		{"a table of what is under way", func(minute int, _ *sampled, z *sizes) {
			z.heap, z.index, z.live, z.dead = 5e6-float64(minute%9)*1e5, 1e6, 10, 900
		}, ""},
		{"nobody vacuums", func(minute int, _ *sampled, z *sizes) {
			if minute > 60 {
				z.heap += 800 * (z.done - 61_000)
			}
		}, "table sessions grows"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var list []sampled
			var tables []sizes
			for minute := range 120 {
				wave := 1 + 0.1*math.Sin(float64(minute)) // no two minutes are the same
				x := sampled{}
				x.v[colElapsed] = 60 * float64(minute+1)
				x.v[colAnswerP50], x.v[colAnswerP99], x.v[colFinishP50], x.v[colFinishP99] = 10*wave, 50*wave, 20*wave, 90*wave
				x.v[colHeapA], x.v[colHeapB] = 10*wave, 10*wave
				done := 1000 * float64(minute+1)
				z := sizes{table: "sessions", elapsed: x.v[colElapsed], done: done, heap: 800 * done, index: 200 * done, live: done, dead: done / 10}
				test.change(minute, &x, &z)
				list, tables = append(list, x), append(tables, z)
			}
			got := judge(list, tables)
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// troubles tells what broke.
func (s *soak) troubles(line func(string, ...any)) {
	byName := map[string][]incident{}
	for _, t := range s.State.Troubles {
		byName[t.Name] = append(byName[t.Name], t)
	}
	line("\n| fault | times | lasted at most, s | payouts under way at most | caught up after at most, s |")
	line("| --- | --- | --- | --- | --- |")
	for _, f := range soakFaults {
		var most incident
		for _, t := range byName[f.name] {
			most.Lasted, most.Caught, most.Flying = max(most.Lasted, t.Lasted), max(most.Caught, t.Caught), max(most.Flying, t.Flying)
		}
		if n := len(byName[f.name]); n > 0 {
			line("| %s | %d | %.1f | %d | %.1f |", f.name, n, most.Lasted, most.Flying, most.Caught)
		}
	}
}
