package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/report"
)

type reportCommand struct {
	Payouts reportPayoutsCommand `cmd:"" help:"Successful payouts and returns of one day in Moscow."`
}

type reportPayoutsCommand struct {
	Project string        `arg:"" help:"Name of the project."`
	Date    *report.Day   `placeholder:"DAY" help:"The day, such as 2026-11-27 (default: yesterday)."`
	Format  report.Format `default:"csv" enum:"csv,xlsx" help:"Form of the report: ${enum}."`
	Output  string        `placeholder:"FILE|DIR" help:"Where to put it; in a folder it gets its usual name (default: the screen)."`
}

func (c *reportPayoutsCommand) Run(ctx context.Context, p *program, g *global) error {
	if file, ok := p.stdout.(*os.File); ok && c.Output == "" && c.Format == report.XLSX && isatty.IsTerminal(file.Fd()) {
		return misused("--format xlsx is nothing for the screen: name a file or a folder with --output")
	}
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) (err error) {
		r, err := desk.Report(ctx, admin.ReportRequest{Project: name, Day: c.Date, Format: c.Format})
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		if r.Unfinished {
			p.warn("the day is not over in Moscow: there may be more to come")
		}
		if c.Output == "" {
			_, err := io.Copy(p.stdout, r.Body)
			return err
		}
		path := c.Output
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path = filepath.Join(path, filepath.Base(r.Name))
		}
		if err := report.Save(path, func(w io.Writer) error {
			_, err := io.Copy(w, r.Body)
			return err
		}); err != nil {
			return err
		}
		p.printf("%s\n", shown(path))
		return nil
	})
}

// reportFlags say where daily reports are written by themselves.
type reportFlags struct {
	ReportDir    string    `placeholder:"DIR" help:"Folder that gets yesterday's payout report of each project."`
	ReportAt     clockTime `default:"03:00" placeholder:"HH:MM" help:"When, in Moscow time."`
	ReportFormat []string  `default:"csv,xlsx" placeholder:"LIST" help:"In which forms: csv, xlsx."`
}

// formats reads the forms.
func (f *reportFlags) formats() ([]report.Format, error) {
	var all []report.Format
	for _, name := range f.ReportFormat {
		format, err := report.ParseFormat(name)
		if err != nil {
			return nil, misused("--report-format: want csv, xlsx or both, not %q", name)
		}
		all = append(all, format)
	}
	if len(all) == 0 {
		return nil, misused("--report-format: want csv, xlsx or both")
	}
	return all, nil
}

// clockTime is a time of day, as how long it is after midnight.
type clockTime time.Duration

const clockForm = "15:04"

// MarshalText writes "03:00".
func (c clockTime) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the reverse.
func (c *clockTime) UnmarshalText(b []byte) error {
	t, err := time.Parse(clockForm, string(b))
	if err != nil {
		return misused("want a time of day such as 03:00, not %q", b)
	}
	*c = clockTime(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute)
	return nil
}

func (c clockTime) String() string {
	return time.Time{}.Add(time.Duration(c)).Format(clockForm)
}
