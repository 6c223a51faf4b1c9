package admin

import (
	"fmt"
	"io"
	"net/http"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/report"
)

// The headers of a report's answer, whose body is the file.
const (
	headerFile       = "Payoutd-File"
	headerUnfinished = "Payoutd-Unfinished" // set while the day is not over
)

// ReportRequest asks for the daily payout report of a project.
type ReportRequest struct {
	Project id.Project    `json:"project"`
	Day     *report.Day   `json:"day,omitempty"` // in Moscow; nil is yesterday
	Format  report.Format `json:"format"`
	Actor   string        `json:"actor"`
}

// Report is a report that is being read.
type Report struct {
	Name string // of a file for it
	// Unfinished says that the day is not over, so that more may come.
	Unfinished bool
	Body       io.ReadCloser
}

// report streams the file. Once it has begun it can't be refused, so an error
// cuts the connection, which no reader takes for the end.
func (d *desk) report(w http.ResponseWriter, r *http.Request) {
	var in ReportRequest
	if err := decode(http.MaxBytesReader(w, r.Body, requestBytesMax), &in); err != nil {
		reply(w, nil, err)
		return
	}
	out := &begun{ResponseWriter: w}
	err := d.writeReport(r, in, out)
	switch {
	case err == nil:
	case !out.yes:
		w.Header().Del(headerFile)
		reply(w, nil, err)
	default:
		d.log.ErrorContext(r.Context(), "a report broke off", "project", in.Project, "error", err)
		panic(http.ErrAbortHandler)
	}
}

func (d *desk) writeReport(r *http.Request, in ReportRequest, w *begun) error {
	ctx := r.Context()
	if _, err := report.ParseFormat(string(in.Format)); err != nil {
		return err
	}
	project, err := d.project(ctx, in.Project)
	if err != nil {
		return err
	}
	today := report.DayOf(d.now())
	day := today - 1
	if in.Day != nil {
		day = *in.Day
	}
	if day > today {
		return fault.New(fault.Invalid, "date: %s has not begun; today is %s", day, today)
	}
	if day == today {
		w.Header().Set(headerUnfinished, "1")
	}
	name := report.FileName(project.ID, day, in.Format)
	if err := d.engine.Record(ctx, project.ID, in.Actor, "report_download", "", name); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	w.Header().Set(headerFile, name)
	w.Header().Set("Content-Type", in.Format.ContentType())
	return report.Write(w, in.Format, report.Rows(ctx, d.store, project, day))
}

// begun knows whether an answer has begun.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}
