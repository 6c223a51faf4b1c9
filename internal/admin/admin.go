// Package admin is the operator's side of an installation: the commands of the
// shell as JSON over HTTP on a Unix socket in the data folder. Both ends are
// here, the handler and the client.
//
// Beside a running server the commands go through its socket; without one the
// client calls the same handler in its own process. So there is one door, and
// what was changed holds at once. Who may open the socket is an operator: its
// file mode lets only the server's user in.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
)

// The operations, each a POST to its path with JSON in and out.
const (
	opList      = "/project/list"
	opShow      = "/project/show"
	opCreate    = "/project/create"
	opSet       = "/project/set"
	opAddKey    = "/project/key/add"
	opRetireKey = "/project/key/retire"
	opAccount   = "/project/account/add"
	opDeposit   = "/deposit"
	opCheck     = "/check"
	opWebhooks  = "/webhook/list" // #nosec G101 -- a path
	opReplay    = "/webhook/replay"
	opAlarms    = "/alarms"

	opReceipts = "/receipts/list"
	opRetry    = "/receipts/retry"
	opCompare  = "/receipts/compare"

	opTokens      = "/token/list"
	opDeleteToken = "/token/delete"
	opIssueToken  = "/token/issue"
	opRotate      = "/vault/rotate"
	opVaultState  = "/vault/state"
	opVaultKey    = "/vault/key"
	opAudit       = "/audit"

	opStatements      = "/statement/list"
	opStatement       = "/statement/show"
	opStatementImport = "/statement/import" // whose input is a file
	opOperators       = "/operator/list"
	opAddOperator     = "/operator/add"
	opSetOperator     = "/operator/set"
	opRemoveOperator  = "/operator/remove"
	opReport          = "/report/payouts"
	opArchive         = "/archive/run"
	opArchiveCheck    = "/archive/verify"

	opRestore        = "/restored/show"
	opDeclareRestore = "/restored/declare"
	opReleaseRestore = "/restored/release"
	opPriceRestored  = "/restored/rate"
)

// undeclared are the operations on a database that went back before an operator
// has declared the restore: those that read, and that one. An audit of who has
// read is written all the same.
var undeclared = []string{
	opList, opShow, opCheck, opWebhooks, opAlarms, opReceipts, opTokens, opVaultState, opAudit, opStatements, opStatement, opOperators, opReport,
	opArchiveCheck, opRestore, opDeclareRestore,
}

// headerDatabase names the database that the caller means, so that a command
// never acts on another one that happens to share the folder.
const headerDatabase = "Payoutd-Database"

// requestBytesMax bounds a request: a public key and settings are far below.
const requestBytesMax = 1 << 20

// Options are what a handler works on. Engine and Store are required.
type Options struct {
	Engine *payout.Engine
	Store  store.Store
	// Database is where the store is: what callers must mean by their command.
	Database string
	// Declare is the command that declares a restore of it.
	Declare string
	// Keeper keeps the vault keys; nil where they can't be replaced.
	Keeper payout.Keeper
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // one line for each act; nil: none
}

// New returns the handler of the operator's commands.
func New(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &desk{engine: o.Engine, store: o.Store, keeper: o.Keeper, now: o.Now, log: o.Log}
	mux := http.NewServeMux()
	mux.Handle("POST "+opList, handle(d.list))
	mux.Handle("POST "+opShow, handle(d.show))
	mux.Handle("POST "+opCreate, handle(d.create))
	mux.Handle("POST "+opSet, handle(d.set))
	mux.Handle("POST "+opAddKey, handle(d.addKey))
	mux.Handle("POST "+opRetireKey, handle(d.retireKey))
	mux.Handle("POST "+opAccount, handle(d.addAccount))
	mux.Handle("POST "+opDeposit, handle(d.deposit))
	mux.Handle("POST "+opCheck, handle(d.check))
	mux.Handle("POST "+opWebhooks, handle(d.webhooks))
	mux.Handle("POST "+opReplay, handle(d.replay))
	mux.Handle("POST "+opAlarms, handle(d.alarms))
	mux.Handle("POST "+opReceipts, handle(d.receipts))
	mux.Handle("POST "+opRetry, handle(d.retry))
	mux.Handle("POST "+opCompare, handle(d.compare))
	mux.Handle("POST "+opTokens, handle(d.tokens))
	mux.Handle("POST "+opDeleteToken, handle(d.deleteToken))
	mux.Handle("POST "+opIssueToken, handle(d.issueToken))
	mux.Handle("POST "+opRotate, handle(d.rotate))
	mux.Handle("POST "+opVaultState, handle(d.vaultState))
	mux.Handle("POST "+opVaultKey, handle(d.vaultKey))
	mux.Handle("POST "+opAudit, handle(d.audit))
	mux.Handle("POST "+opStatements, handle(d.statements))
	mux.Handle("POST "+opStatement, handle(d.statement))
	mux.HandleFunc("POST "+opStatementImport, d.importStatement)
	mux.Handle("POST "+opOperators, handle(d.listOperators))
	mux.Handle("POST "+opAddOperator, handle(d.addOperator))
	mux.Handle("POST "+opSetOperator, handle(d.setOperator))
	mux.Handle("POST "+opRemoveOperator, handle(d.removeOperator))
	mux.HandleFunc("POST "+opReport, d.report)
	mux.Handle("POST "+opArchive, handle(d.archive))
	mux.Handle("POST "+opArchiveCheck, handle(d.checkArchives))
	mux.Handle("POST "+opRestore, handle(d.restore))
	mux.Handle("POST "+opDeclareRestore, handle(d.declareRestore))
	mux.Handle("POST "+opReleaseRestore, handle(d.releaseRestore))
	mux.Handle("POST "+opPriceRestored, handle(d.priceRestored))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if meant := r.Header.Get(headerDatabase); meant != o.Database {
			reply(w, nil, fault.New(fault.WrongState, "the server on this folder has the database %s, not %s", o.Database, meant))
			return
		}
		restored := o.Engine.Restored()
		if err := restored.Undeclared(o.Database, o.Declare); err != nil && !slices.Contains(undeclared, r.URL.Path) {
			reply(w, nil, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// desk is where the operator's commands are done.
type desk struct {
	engine *payout.Engine
	store  store.Store
	keeper payout.Keeper
	now    func() time.Time
	log    *slog.Logger
}

// nothing is the input of an operation that needs none.
type nothing struct{}

// named is the input of an operation on one project.
type named struct {
	Project id.Project `json:"project"`
}

// DepositRequest asks to book money that a partner has brought in.
type DepositRequest struct {
	Project id.Project   `json:"project"`
	Amount  money.Amount `json:"amount"`
	// Reference is booked once, however often it is sent. Without one a command
	// whose answer was lost could not be repeated, so it is required.
	Reference string `json:"reference"`
	// Account is the project's own account that the money is on; "" for its balance.
	Account string `json:"account,omitempty"`
}

// Deposit is what came of a DepositRequest.
type Deposit struct {
	// Repeated says that the reference was booked before and nothing was now.
	Repeated  bool   `json:"repeated"`
	Available string `json:"available"` // roubles, after it
}

func (d *desk) deposit(ctx context.Context, in DepositRequest) (Deposit, error) {
	if in.Reference == "" {
		return Deposit{}, fault.New(fault.Invalid, "reference: missing")
	}
	repeated, err := d.engine.DepositTo(ctx, in.Project, in.Account, in.Amount, in.Reference)
	if err != nil {
		return Deposit{}, err
	}
	d.log.InfoContext(ctx, "deposit", "project", in.Project, "account", in.Account, "amount", in.Amount.String(), "reference", in.Reference, "repeated", repeated)
	if in.Account != "" {
		accounts, err := d.accounts(ctx, in.Project)
		if err != nil {
			return Deposit{}, err
		}
		i := slices.IndexFunc(accounts, func(a Account) bool { return a.Number == in.Account })
		return Deposit{repeated, accounts[i].Balance.Available}, nil // it was deposited to
	}
	book, err := d.engine.Book(ctx, in.Project)
	if err != nil {
		return Deposit{}, err
	}
	return Deposit{repeated, roubles(book.Balance.Available)}, nil
}

// checkRequest asks to prove the books.
type checkRequest struct {
	Actor string        `json:"actor"`
	Heads []payout.Head `json:"heads,omitempty"` // that were kept
}

func (d *desk) check(ctx context.Context, in checkRequest) (*payout.Report, error) {
	return d.checked(ctx, in.Actor, func() (*payout.Report, error) { return d.engine.Check(ctx, in.Heads...) })
}

// checked proves the books, and writes down that the vault was opened.
func (d *desk) checked(ctx context.Context, actor string, check func() (*payout.Report, error)) (*payout.Report, error) {
	r, err := check()
	if err != nil {
		return nil, err
	}
	if r.Opened > 0 { // and shown to nobody
		if err := d.engine.Record(ctx, "", actor, "vault_check", "", fmt.Sprintf("%d rows opened", r.Opened)); err != nil {
			return nil, err
		}
	}
	if !r.Clean() {
		d.log.ErrorContext(ctx, "the books are not clean", "problems", len(r.Problems))
	}
	return r, nil
}

// refusal is the body of an answer to a command that was not done.
type refusal struct {
	Code fault.Code `json:"code"`
	Text string     `json:"text"`
}

func handle[In, Out any](do func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decode(http.MaxBytesReader(w, r.Body, requestBytesMax), &in); err != nil {
			reply(w, nil, err)
			return
		}
		out, err := do(r.Context(), in)
		reply(w, out, err)
	})
}

func decode(body io.Reader, in any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return fault.Wrap(fault.Invalid, err, "the command can't be read: %v", err)
	}
	return nil
}

// reply hides nothing: whoever may ask here may read the log as well.
func reply(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		r := refusal{fault.CodeOf(err), err.Error()}
		if e, ok := errors.AsType[*fault.Error](err); ok && e.Code != fault.Internal {
			r.Text = e.Text
			if e.Code == fault.Busy && e.Cause != nil { // such as a database that was stopped
				r.Text += ": " + e.Cause.Error()
			}
		}
		w.WriteHeader(fault.Lookup(r.Code).HTTP)
		out = r
	}
	_ = json.NewEncoder(w).Encode(out) // whoever has left needs no answer
}

// roubles prints kopecks as roubles.
func roubles(minor int64) string {
	return money.Amount{Minor: minor, Currency: money.RUB}.Major()
}
