package console

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/report"
)

// previewRows is how much of a report is shown before it is fetched.
const previewRows = 20

// downloadMax bounds how long the fetching of a report may take.
const downloadMax = time.Hour

// reportsView is the form for a report, and the beginning of the chosen one.
type reportsView struct {
	Projects []id.Project
	Project  string
	Day      report.Day
	Today    report.Day
	Rows     []report.Row
	More     bool
	CSV      string // addresses; "" without a project
	XLSX     string
	Name     string
}

// Unfinished says that the day is not over.
func (v reportsView) Unfinished() bool { return v.Day == v.Today }

func (s *Server) reports(w http.ResponseWriter, r *http.Request, v *visit) error {
	projects, err := s.store.Projects(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	out := reportsView{Project: q.Get("project"), Today: report.DayOf(s.now())}
	out.Day = out.Today - 1
	if text := q.Get("date"); text != "" {
		if out.Day, err = s.day(text); err != nil {
			return err
		}
	}
	var chosen *partner.Project
	for i := range projects {
		out.Projects = append(out.Projects, projects[i].ID)
		if string(projects[i].ID) == out.Project || out.Project == "" && len(projects) == 1 {
			chosen = &projects[i]
		}
	}
	switch {
	case chosen != nil:
	case out.Project != "":
		return fault.New(fault.NotFound, "no project %s", out.Project)
	default:
		return s.show(w, http.StatusOK, "reports", v, out)
	}
	out.Project = string(chosen.ID)
	for row, err := range report.Rows(r.Context(), s.store, chosen, out.Day) {
		if err != nil {
			return err
		}
		if out.More = len(out.Rows) == previewRows; out.More {
			break
		}
		out.Rows = append(out.Rows, row)
	}
	path := Root + "reports/" + url.PathEscape(out.Project) + "/" + out.Day.String() + "/"
	out.CSV, out.XLSX, out.Name = path+string(report.CSV), path+string(report.XLSX), report.FileName(chosen.ID, out.Day, report.CSV)
	return s.show(w, http.StatusOK, "reports", v, out)
}

// day reads a day that has begun.
func (s *Server) day(text string) (report.Day, error) {
	d, err := report.ParseDay(text)
	if err == nil && d > report.DayOf(s.now()) {
		err = fault.New(fault.Invalid, "date: %s has not begun", d)
	}
	return d, err
}

// download sends a report, and writes down first who has fetched it. A report
// that breaks off in the middle breaks the connection, so that no browser keeps
// it as whole.
func (s *Server) download(w http.ResponseWriter, r *http.Request, v *visit) error {
	project, err := s.project(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	d, err := s.day(r.PathValue("day"))
	if err != nil {
		return err
	}
	format, err := report.ParseFormat(r.PathValue("format"))
	if err != nil {
		return fault.Wrap(fault.NotFound, err, "no such format")
	}
	name := report.FileName(project.ID, d, format)
	if err := s.record(r.Context(), project.ID, actor(v.Me), "report_download", "", name); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	// Where it can't be set, in tests, there is none.
	_ = http.NewResponseController(w).SetWriteDeadline(s.real().Add(downloadMax))
	out := &begun{ResponseWriter: w, name: name, kind: format.ContentType()}
	err = report.Write(out, format, report.Rows(r.Context(), s.store, project, d))
	switch {
	case err == nil:
		out.begin() // an empty one writes nothing
		return nil
	case !out.yes:
		return err
	}
	s.log.ErrorContext(r.Context(), "a report broke off", "project", project.ID, "day", d.String(), "error", err)
	panic(http.ErrAbortHandler)
}

// begun is an answer that names its file once the first of it comes.
type begun struct {
	http.ResponseWriter
	name, kind string
	yes        bool
}

func (b *begun) begin() {
	if !b.yes {
		b.yes = true
		b.Header().Set("Content-Type", b.kind)
		b.Header().Set("Content-Disposition", `attachment; filename="`+b.name+`"`) // a project's name has nothing to be escaped
	}
}

func (b *begun) Write(p []byte) (int, error) {
	b.begin()
	return b.ResponseWriter.Write(p)
}
