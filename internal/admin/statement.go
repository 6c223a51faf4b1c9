package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail/statement"
)

// Statement is a statement of a rail as operators see it.
type Statement struct {
	Number string    `json:"number"` // "st_" and digits: names it in commands
	Rail   string    `json:"rail"`
	ID     string    `json:"id"` // the rail's name of it
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	State  string    `json:"state"` // "open" where it was begun and not ended
	store.StatementSummary
	TakenAt time.Time `json:"taken_at"`
	// Repeated says that it was taken in before and nothing was done now.
	Repeated bool `json:"repeated,omitempty"`
	// Found is what does not agree, nil in a list of statements.
	Found []Difference `json:"found,omitempty"`
}

// Difference is one place where a statement and the books do not agree.
type Difference struct {
	No        int           `json:"no"`
	Kind      string        `json:"kind"`
	Project   id.Project    `json:"project,omitempty"`
	Session   string        `json:"session,omitempty"`
	Payout    string        `json:"payout,omitempty"`
	Line      int           `json:"line,omitempty"` // in the file
	Reference string        `json:"reference,omitempty"`
	RailID    string        `json:"rail_id,omitempty"`
	Theirs    *money.Amount `json:"theirs,omitempty"`
	Ours      *money.Amount `json:"ours,omitempty"`
	Text      string        `json:"text"`
	At        time.Time     `json:"at"`
	// FoundIn is the statement that has had the missing line since.
	FoundIn string `json:"found_in,omitempty"`
}

// StatementsRequest asks for the newest statements.
type StatementsRequest struct {
	Limit int `json:"limit"` // 1 to 1000
}

// StatementRequest asks for one.
type StatementRequest struct {
	Number string `json:"number"`
}

// importStatement takes in the file that is the body of the request. It is read
// as it comes: a statement may be large.
func (d *desk) importStatement(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s, err := statement.Read(http.MaxBytesReader(w, r.Body, statement.BytesMax+1), statement.Format(q.Get("format")))
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file was cut off on its way")
		}
		reply(w, nil, fault.New(fault.Invalid, "the statement can't be read: %s", instrument.MaskText(err.Error())))
		return
	}
	report, err := d.engine.TakeStatement(r.Context(), q.Get("rail"), s)
	if err != nil {
		reply(w, nil, err)
		return
	}
	d.log.InfoContext(r.Context(), "statement", "number", report.Number, "rail", report.Rail, "id", report.ID,
		"lines", report.Summary.Lines, "differences", report.Summary.Differences, "repeated", report.Repeated)
	reply(w, shownReport(&report), nil)
}

func (d *desk) statements(ctx context.Context, in StatementsRequest) ([]Statement, error) {
	list, err := d.engine.Statements(ctx, limited(in.Limit))
	shown := make([]Statement, 0, len(list))
	for i := range list {
		shown = append(shown, shownStatement(&list[i]))
	}
	return shown, err
}

func (d *desk) statement(ctx context.Context, in StatementRequest) (Statement, error) {
	number, err := id.ParseStatement(in.Number)
	if err != nil {
		return Statement{}, fault.Wrap(fault.Invalid, err, "number: %v", err)
	}
	report, err := d.engine.StatementReport(ctx, number)
	if err != nil {
		return Statement{}, err
	}
	return shownReport(&report), nil
}

func shownStatement(s *store.Statement) Statement {
	return Statement{
		Number: s.Number.String(), Rail: s.Rail, ID: s.ID, From: s.From, To: s.To, State: string(s.State), StatementSummary: s.Summary, TakenAt: s.At,
	}
}

func shownReport(r *payout.StatementReport) Statement {
	s := shownStatement(&r.Statement)
	s.Repeated = r.Repeated
	for i := range r.Differences {
		d := shownDifference(&r.Differences[i])
		if in, ok := r.Found[d.No]; ok {
			d.FoundIn = in.String()
		}
		s.Found = append(s.Found, d)
	}
	return s
}

func shownDifference(of *store.Difference) Difference {
	d := Difference{
		No: of.No, Kind: string(of.Kind), Project: of.Project, Line: of.Line, Reference: of.Reference, RailID: of.RailID, Text: of.Text, At: of.At,
	}
	if of.Session != 0 {
		d.Session, d.Payout = of.Session.String(), of.Payout.String()
	}
	if of.Theirs.Currency != "" {
		d.Theirs = &of.Theirs
	}
	if of.Ours.Currency != "" {
		d.Ours = &of.Ours
	}
	return d
}

// ImportStatement takes in a statement of a rail, once for each of the rail's
// names of it. The format is guessed where it is "".
func (c *Client) ImportStatement(ctx context.Context, rail string, f statement.Format, file io.Reader) (Statement, error) {
	q := url.Values{"rail": {rail}, "format": {string(f)}}
	return send[Statement](ctx, c, opStatementImport+"?"+q.Encode(), file)
}

// Statements lists the newest statements, newest first.
func (c *Client) Statements(ctx context.Context, limit int) ([]Statement, error) {
	return call[[]Statement](ctx, c, opStatements, StatementsRequest{limit})
}

// Statement shows one with its differences; fault.NotFound if there is none.
func (c *Client) Statement(ctx context.Context, number string) (Statement, error) {
	return call[Statement](ctx, c, opStatement, StatementRequest{number})
}
