package report

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
)

const (
	stateName = ".payoutd-reports.json"
	lockName  = ".payoutd-reports.lock"
	draftName = ".report-*.draft"

	// lookGap is how long after a failure, or a look at a folder that another
	// node has, it is looked at again. A clock may also be set meanwhile.
	lookGap = time.Minute
	// draftAgeMax is since when a draft that nobody writes to is a dead one's.
	draftAgeMax = time.Hour
)

// Schedule writes the report of each project for each day to a folder, once the
// day is over.
//
// What was written stands in a file of the folder, so that days are made up for
// after a standstill, and files that were taken away are not written again. It
// begins with yesterday. Nodes that share the folder take turns by a lock there;
// a node with another folder fills that as well.
type Schedule struct {
	Source  Source
	Dir     string
	At      time.Duration // how long after midnight in Moscow yesterday is written
	Formats []Format
	Now     func() time.Time // the product's clock
	Log     *slog.Logger

	real func() time.Time // that files are dated by
	wake chan struct{}
}

// state is what stands in the folder.
type state struct {
	Since   Day                `json:"since"`   // first day that was asked for
	Written map[id.Project]Day `json:"written"` // last day of each project
}

// NewSchedule checks that the folder can be written to, and makes it if need be.
func NewSchedule(s Schedule) (*Schedule, error) {
	if err := os.MkdirAll(s.Dir, 0o750); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(s.Dir, draftName)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, err
	}
	s.real, s.wake = time.Now, make(chan struct{}, 1)
	return &s, nil
}

// Wake looks at once whether a report is due: after the clock was moved.
func (s *Schedule) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run writes what is due until ctx ends. A report that can't be written is
// tried again, and told of in the log each time; the others go on.
func (s *Schedule) Run(ctx context.Context) error {
	for {
		err := s.write(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.Log.ErrorContext(ctx, "reports could not be written; trying again", "folder", s.Dir, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-time.After(lookGap):
		}
	}
}

// last is the last day whose report is due.
func (s *Schedule) last() Day { return DayOf(s.Now().Add(-s.At)) - 1 }

// write writes all that is due, if no other node is doing it.
func (s *Schedule) write(ctx context.Context) (err error) {
	lock, err := os.OpenFile(filepath.Join(s.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	switch err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil
	case err != nil:
		return err
	}
	if err := s.sweep(); err != nil {
		return err
	}
	last := s.last()
	done, err := s.state(last)
	if err != nil {
		return err
	}
	projects, err := s.Source.Projects(ctx)
	if err != nil {
		return err
	}
	var failures error
	for i := range projects {
		failures = errors.Join(failures, s.project(ctx, &projects[i], done, last))
	}
	return failures
}

// project writes what is due of one project.
func (s *Schedule) project(ctx context.Context, p *partner.Project, done *state, last Day) error {
	next := max(done.Since, DayOf(p.CreatedAt))
	if written, ok := done.Written[p.ID]; ok {
		next = written + 1
	}
	for ; next <= last; next++ {
		for _, f := range s.Formats {
			name := filepath.Join(s.Dir, FileName(p.ID, next, f))
			if _, err := os.Lstat(name); err == nil {
				continue // written before the state could be
			}
			if err := Save(name, func(w io.Writer) error { return Write(w, f, Rows(ctx, s.Source, p, next)) }); err != nil {
				return err
			}
			s.Log.InfoContext(ctx, "report written", "project", p.ID, "file", name)
		}
		done.Written[p.ID] = next
		if err := s.keep(done); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the drafts of programs that died. One that is being written was
// changed a moment ago.
func (s *Schedule) sweep() error {
	drafts, err := filepath.Glob(filepath.Join(s.Dir, draftName))
	if err != nil {
		return err
	}
	for _, d := range drafts {
		info, err := os.Lstat(d)
		if err == nil && s.real().Sub(info.ModTime()) > draftAgeMax {
			err = os.Remove(d)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// state reads what was written, or begins with the day given.
func (s *Schedule) state(first Day) (*state, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, stateName))
	if errors.Is(err, fs.ErrNotExist) {
		begun := &state{Since: first, Written: map[id.Project]Day{}}
		return begun, s.keep(begun)
	}
	if err != nil {
		return nil, err
	}
	done := &state{}
	if err = json.Unmarshal(text, done); err == nil && done.Written == nil {
		err = errors.New("it names no days")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not what was written; remove it to begin with yesterday: %w", stateName, err)
	}
	return done, nil
}

func (s *Schedule) keep(done *state) error {
	return Save(filepath.Join(s.Dir, stateName), func(w io.Writer) error { return json.NewEncoder(w).Encode(done) })
}

// Save gives a file the content that write writes: after a crash, or if write
// fails, it is as it was before.
func Save(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	draft, err := os.CreateTemp(dir, draftName)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriter(draft)
	err = write(buffer)
	if err = errors.Join(err, buffer.Flush(), draft.Chmod(0o640), draft.Sync(), draft.Close()); err != nil {
		return errors.Join(err, os.Remove(draft.Name()))
	}
	if err := os.Rename(draft.Name(), path); err != nil {
		return errors.Join(err, os.Remove(draft.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
