package report

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
)

// desk is a schedule with a clock of its own.
type desk struct {
	*testing.T
	*shelf
	*Schedule
	mu   sync.Mutex
	now  time.Time
	more []partner.Project
}

func newDesk(t *testing.T, dir, now string) *desk {
	t.Helper()
	d := &desk{T: t, shelf: newShelf(), now: at(now)}
	s, err := NewSchedule(Schedule{
		Source: d, Dir: dir, At: 3 * time.Hour, Formats: []Format{CSV, XLSX},
		Now: func() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.now }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Schedule = s
	return d
}

func (d *desk) Projects(ctx context.Context) ([]partner.Project, error) {
	all, err := d.shelf.Projects(ctx)
	return append(all, d.more...), err
}

// at moves the clock and writes what is due.
func (d *desk) at(now string) {
	d.Helper()
	d.now = at(now)
	if err := d.write(d.Context()); err != nil {
		d.Fatal(err)
	}
}

// files are those that an accountant sees, without their endings; of each both
// forms must be there.
func (d *desk) files() []string {
	d.Helper()
	found, err := filepath.Glob(filepath.Join(d.Dir, "[a-z]*.csv"))
	if err != nil {
		d.Fatal(err)
	}
	for i, f := range found {
		f = strings.TrimSuffix(f, ".csv")
		if _, err := os.Stat(f + ".xlsx"); err != nil {
			d.Error(err)
		}
		found[i] = filepath.Base(f)
	}
	return found
}

func (d *desk) want(names ...string) {
	d.Helper()
	if got := d.files(); !slices.Equal(got, names) {
		d.Errorf("got %q, want %q", got, names)
	}
}

const (
	on26 = "acme_2026-11-26_2026-11-26"
	on27 = "acme_2026-11-27_2026-11-27"
	on28 = "acme_2026-11-28_2026-11-28"
)

func TestScheduleWritesYesterday(t *testing.T) {
	d := newDesk(t, t.TempDir(), "2026-11-27 12:00:00")
	d.pay(t, at("2026-11-27 13:00:00"), 1, 0, session.Details{})
	d.at("2026-11-27 12:00:00")
	d.want(on26)
	d.at("2026-11-28 02:59:59")
	d.want(on26)
	d.at("2026-11-28 03:00:00")
	d.want(on26, on27)
	text, err := os.ReadFile(filepath.Join(d.Dir, on27+".csv"))
	if err != nil || string(text) != d.csv(t, "2026-11-27") || len(text) == 0 {
		t.Errorf("%v, got %q", err, text)
	}
	if info, err := os.Stat(filepath.Join(d.Dir, on26+".csv")); err != nil || info.Size() != 0 {
		t.Errorf("a day without payouts: %v, %v; want an empty file", info, err)
	}
}

func TestScheduleMakesUpForDays(t *testing.T) {
	dir := t.TempDir()
	newDesk(t, dir, "2026-11-27 12:00:00").at("2026-11-27 12:00:00")
	d := newDesk(t, dir, "2026-11-29 12:00:00") // another run
	d.at("2026-11-29 12:00:00")
	d.want(on26, on27, on28)
}

// Files that were taken away are not written again, and those that are there
// are left as they are.
func TestScheduleWritesOnce(t *testing.T) {
	d := newDesk(t, t.TempDir(), "2026-11-27 12:00:00")
	d.at("2026-11-27 12:00:00")
	for _, e := range []string{".csv", ".xlsx"} {
		if err := os.Remove(filepath.Join(d.Dir, on26+e)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Dir, on27+e), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.at("2026-11-28 12:00:00")
	d.want(on27)
	if text, err := os.ReadFile(filepath.Join(d.Dir, on27+".csv")); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestScheduleOfANewProject(t *testing.T) {
	d := newDesk(t, t.TempDir(), "2026-11-27 12:00:00")
	d.at("2026-11-27 12:00:00")
	d.shelf.project.ID, d.book.Project = "late", "late"
	d.shelf.project.CreatedAt = at("2026-11-28 12:00:00")
	d.at("2026-11-30 12:00:00")
	d.want(on26, "late_2026-11-28_2026-11-28", "late_2026-11-29_2026-11-29")
}

// One project that can't be read keeps none of the others from its report, and
// has its own as soon as it can be read.
func TestScheduleGoesOnAfterAFailure(t *testing.T) {
	d := newDesk(t, t.TempDir(), "2026-11-27 12:00:00")
	d.more = []partner.Project{{ID: "lost"}}
	if err := d.write(t.Context()); err == nil {
		t.Error("no error")
	}
	d.want(on26)
	d.more = nil
	d.pay(t, at("2026-11-27 13:00:00"), 1, 0, session.Details{})
	d.broken = io.ErrUnexpectedEOF
	d.now = at("2026-11-28 12:00:00")
	if err := d.write(t.Context()); err == nil {
		t.Error("no error")
	}
	d.want(on26)
	if drafts, _ := filepath.Glob(filepath.Join(d.Dir, draftName)); len(drafts) > 0 {
		t.Errorf("left behind: %q", drafts)
	}
	d.broken = nil
	d.at("2026-11-28 12:00:00")
	d.want(on26, on27)
}

func TestScheduleKnowsItsFolder(t *testing.T) {
	d := newDesk(t, t.TempDir(), "2026-11-27 12:00:00")
	for _, text := range []string{"", "{}", "[]", `{"since":"yesterday","written":{}}`} {
		if err := os.WriteFile(filepath.Join(d.Dir, stateName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.write(t.Context()); err == nil || !strings.Contains(err.Error(), stateName) {
			t.Errorf("%q: error %v", text, err)
		}
	}
	d.want()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSchedule(Schedule{Dir: file}); err == nil {
		t.Error("a file is taken for a folder")
	}
}

func TestScheduleSweeps(t *testing.T) {
	d := newDesk(t, t.TempDir(), "2026-11-27 12:00:00")
	old, young := filepath.Join(d.Dir, ".report-1.draft"), filepath.Join(d.Dir, ".report-2.draft")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := d.real().Add(-2 * draftAgeMax)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	d.at("2026-11-27 12:00:00")
	if _, err := os.Stat(old); err == nil {
		t.Error("the draft of a dead program is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

// Nodes that share a folder do each day once, whoever comes first.
func TestScheduleOfSeveralNodes(t *testing.T) {
	dir := t.TempDir()
	var nodes sync.WaitGroup
	for range 4 {
		d := newDesk(t, dir, "2026-11-27 12:00:00")
		nodes.Go(func() {
			for range 20 {
				if err := d.write(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	nodes.Wait()
	d := newDesk(t, dir, "2026-11-27 12:00:00")
	d.want(on26)
	done, err := d.state(0)
	if err != nil || done.Written[id.Project("acme")] != day("2026-11-26") {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestScheduleRuns(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, dir, "2026-11-27 12:00:00")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Schedule.Run(ctx) }()
		move := func(to string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.now = at(to)
		}
		synctest.Wait()
		d.want(on26)
		move("2026-11-28 03:00:00")
		synctest.Wait()
		d.want(on26)
		time.Sleep(lookGap) // time passes
		synctest.Wait()
		d.want(on26, on27)
		move("2026-11-29 12:00:00")
		d.Wake()
		synctest.Wait()
		d.want(on26, on27, on28)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSaveKeepsWhatWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	put := func(text string, err error) error {
		return Save(path, func(w io.Writer) error {
			_, _ = io.WriteString(w, text)
			return err
		})
	}
	if err := put("old", nil); err != nil {
		t.Fatal(err)
	}
	if err := put("new", io.ErrUnexpectedEOF); err == nil {
		t.Error("no error")
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "old" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}
