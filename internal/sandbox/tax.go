package sandbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// The tax service's books. What is known of a person who is not in links is
// what their INN says.
const taxSchema = `
CREATE TABLE IF NOT EXISTS links (
	inn   TEXT    NOT NULL PRIMARY KEY,
	state TEXT    NOT NULL,
	at    INTEGER NOT NULL -- microseconds; when the request came
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS link_requests (
	id    TEXT NOT NULL PRIMARY KEY,
	inn   TEXT NOT NULL,
	state TEXT NOT NULL -- of tax.LinkState
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS link_requests_open ON link_requests (inn) WHERE state = 'requested';
CREATE TABLE IF NOT EXISTS messages (
	id     TEXT    NOT NULL PRIMARY KEY,
	answer TEXT    NOT NULL,
	due    INTEGER NOT NULL, -- the answer is withheld until then
	at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_at ON messages (at);
CREATE TABLE IF NOT EXISTS receipts (
	operation  TEXT    NOT NULL PRIMARY KEY,
	inn        TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	link       TEXT    NOT NULL,
	income     TEXT    NOT NULL, -- what it is made of
	minor      INTEGER NOT NULL,
	at         INTEGER NOT NULL, -- of the income
	registered INTEGER NOT NULL,
	cancelled  INTEGER NOT NULL, -- 0 if it is not
	reason     TEXT    NOT NULL,
	UNIQUE (inn, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS receipts_at ON receipts (at);
CREATE TABLE IF NOT EXISTS incomes ( -- of what is in receipts
	inn   TEXT    NOT NULL,
	year  INTEGER NOT NULL, -- in Moscow
	minor INTEGER NOT NULL,
	PRIMARY KEY (inn, year)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS late_receipts (
	operation TEXT    NOT NULL PRIMARY KEY,
	at        INTEGER NOT NULL -- when it was first asked for
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notices (
	inn       TEXT    NOT NULL,
	id        TEXT    NOT NULL,
	title     TEXT    NOT NULL,
	message   TEXT    NOT NULL,
	status    TEXT    NOT NULL,
	at        INTEGER NOT NULL,
	delivered INTEGER NOT NULL, -- 0 if it was not
	PRIMARY KEY (inn, id)
) STRICT, WITHOUT ROWID;`

// Errors of a connection to the service.
var (
	errTax      = fault.New(fault.TaxFailed, "the tax service does not answer")
	errTaxBroke = fault.New(fault.TaxFailed, "the connection to the tax service broke before its answer")
)

// taxService is the tax service. It books a question and its answer in one
// transaction, before it says anything.
type taxService struct{ world *World }

// Tax is the world's tax service.
func (w *World) Tax() tax.Service { return taxService{w} }

// Ask implements tax.Service.
func (s taxService) Ask(ctx context.Context, q tax.Question) (tax.Message, error) {
	if err := wait(ctx, s.world.latency); err != nil {
		return "", err
	}
	if err := wellFormed(q); err != nil {
		return "", err
	}
	m := tax.Message(rand.Text())
	now := micro(s.world.clock.Now())
	var lost error
	err := s.world.books.do(ctx, func(tx *sql.Tx) error {
		desk := &taxDesk{Tx: tx, world: s.world, now: now, due: now}
		answer, err := desk.answer(q)
		if err != nil {
			return err
		}
		if lost = desk.lost; lost != nil {
			return nil // what was done stays done
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO messages (id, answer, due, at) VALUES (?, ?, ?, ?)`, string(m), string(text), desk.due.UnixMicro(), now.UnixMicro())
		if err == nil {
			_, err = tx.Exec(`DELETE FROM messages WHERE at < ?`, now.Add(-messageLife).UnixMicro())
		}
		return err
	})
	if err == nil {
		err = lost
	}
	if err != nil {
		return "", err
	}
	return m, nil
}

// Answer implements tax.Service.
func (s taxService) Answer(ctx context.Context, m tax.Message) (tax.Answer, error) {
	if err := wait(ctx, s.world.latency); err != nil {
		return tax.Answer{}, err
	}
	var text string
	var due int64
	err := s.world.books.reader.QueryRowContext(ctx, `SELECT answer, due FROM messages WHERE id = ?`, string(m)).Scan(&text, &due)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return tax.Answer{}, tax.ErrNoMessage
	case ctx.Err() != nil:
		return tax.Answer{}, tooLate(ctx)
	case err != nil:
		return tax.Answer{}, fault.Wrap(fault.Internal, err, "books of the simulated world")
	case s.world.clock.Now().UnixMicro() < due:
		return tax.Answer{}, tax.ErrPending
	}
	var a tax.Answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return tax.Answer{}, fault.Wrap(fault.Internal, err, "books of the simulated world")
	}
	return a, nil
}

// wellFormed refuses what a connector to the real service could not send. Check
// digits are not looked at: INNs of published examples have none that are right
// (wire reference, extensions §3.1).
func wellFormed(q tax.Question) error {
	wrong := func(what string) error { return fault.New(fault.Invalid, "%s: %s", q.Kind, what) }
	switch q.Kind {
	case tax.GetStatus, tax.Unlink, tax.GetIncome, tax.Register, tax.Cancel, tax.ComparePerson:
		if !digits(q.INN, 12) {
			return wrong("an INN has 12 digits")
		}
	case tax.Link:
		if (q.INN == "") == (q.Phone == "") || q.INN != "" && !digits(q.INN, 12) || q.Phone != "" && !digits(q.Phone, 11) {
			return wrong("want an INN of 12 digits or a phone of 11")
		}
	case tax.CountNotices, tax.ReadNotices:
		for _, inn := range q.INNs {
			if !digits(inn, 12) {
				return wrong("an INN has 12 digits")
			}
		}
	case tax.GetLink, tax.DeliverNotices, tax.AcknowledgeNotices, tax.ListReceipts:
	default:
		return wrong("no such question")
	}
	switch {
	case (q.Kind == tax.Register || q.Kind == tax.Cancel) && (q.Operation == "" || len(q.Operation) > 64):
		return wrong("an operation has 1 to 64 characters")
	case q.Kind == tax.ComparePerson && q.Person == nil:
		return wrong("nobody to compare")
	case q.Kind == tax.Register:
		if _, err := total(q.Receipt); err != nil {
			return wrong(err.Error())
		}
	}
	return nil
}

func digits(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789") == "" }

// servicesMax is how many lines a receipt may have.
const servicesMax = 6

// total is the sum of a receipt.
func total(i *tax.Income) (money.Amount, error) {
	sum := money.Amount{Currency: money.RUB}
	if i == nil || len(i.Services) == 0 || len(i.Services) > servicesMax {
		return sum, fmt.Errorf("a receipt has 1 to %d services", servicesMax)
	}
	for _, line := range i.Services {
		if line.Quantity < 1 || line.Amount.Minor < 1 || line.Amount.Minor > money.MinorMax/int64(line.Quantity) {
			return sum, errors.New("the amount of a service is out of range")
		}
		of, err := sum.Add(money.Amount{Minor: line.Amount.Minor * int64(line.Quantity), Currency: line.Amount.Currency})
		if err != nil || of.Minor > money.MinorMax {
			return sum, errors.New("a receipt is in roubles, and below 2^53 kopecks")
		}
		sum = of
	}
	return sum, nil
}

// taxDesk answers one question within a transaction.
type taxDesk struct {
	*sql.Tx
	world *World
	now   time.Time
	due   time.Time // when the answer is there
	lost  error     // why the asker hears nothing
}

func (d *taxDesk) answer(q tax.Question) (tax.Answer, error) {
	inns := q.INNs
	switch {
	case q.Phone != "":
		q.INN = byPhone[q.Phone]
		inns = []string{q.INN}
	case q.INN != "":
		inns = []string{q.INN}
	}
	for _, inn := range inns {
		switch byINN[inn].outcome {
		case LinkBroken:
			d.lost = errTax
			return tax.Answer{}, nil
		case PersonFailing:
			return failed, nil
		case Slow:
			d.due = d.now.Add(answerDelay)
		default:
		}
	}
	switch q.Kind {
	case tax.GetStatus:
		return d.status(q.INN)
	case tax.Link:
		return d.link(q.INN)
	case tax.GetLink:
		return d.linkState(q.Request)
	case tax.Unlink:
		return tax.Answer{}, d.setLink(q.INN, LinkNone)
	case tax.GetIncome:
		return d.income(q.INN, q.Year)
	case tax.Register:
		return d.register(q)
	case tax.Cancel:
		return d.cancel(q)
	case tax.ComparePerson:
		return compare(q.INN, *q.Person), nil
	case tax.CountNotices, tax.ReadNotices:
		return d.readNotices(q)
	case tax.DeliverNotices, tax.AcknowledgeNotices:
		return tax.Answer{}, d.markNotices(q)
	default:
		return d.list(q.Day)
	}
}

var failed = refused(tax.Failed)

func refused(r tax.Refusal) tax.Answer {
	text := map[tax.Refusal]string{tax.NoRequest: "no such request to link", tax.NoReceipt: "no such receipt"}[r]
	if text == "" {
		text = fault.Lookup(fault.Code(r)).Text
	}
	return tax.Answer{Refused: r, Text: text}
}

// selfEmployed reports whether an INN is of a self-employed person; "" is what
// a phone belongs to that nobody has.
func selfEmployed(inn string) bool { return inn != "" && byINN[inn].outcome != NotSelfEmployed }

// linkOf says how a person stands.
func (d *taxDesk) linkOf(inn string) (LinkState, error) {
	var state LinkState
	err := d.QueryRow(`SELECT state FROM links WHERE inn = ?`, inn).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows) && byINN[inn].linked:
		return LinkLinked, nil
	case errors.Is(err, sql.ErrNoRows):
		return LinkNone, nil
	}
	return state, err
}

func (d *taxDesk) setLink(inn string, state LinkState) error {
	_, err := d.Exec(`INSERT INTO links (inn, state, at) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET state = excluded.state, at = iif(excluded.state = 'requested', excluded.at, at)`, inn, state, d.now.UnixMicro())
	return err
}

// decide answers a request that awaits an answer, for the person.
func (d *taxDesk) decide(inn string, allow bool) error {
	link, request := LinkDeclined, tax.LinkRejected
	if allow {
		link, request = LinkLinked, tax.LinkConfirmed
	}
	if _, err := d.Exec(`UPDATE link_requests SET state = ? WHERE inn = ? AND state = ?`, request, inn, tax.LinkRequested); err != nil {
		return err
	}
	return d.setLink(inn, link)
}

// asked is linkOf, before which a magic INN decides about a request.
func (d *taxDesk) asked(inn string) (LinkState, error) {
	state, err := d.linkOf(inn)
	who := byINN[inn].outcome
	if err != nil || state != LinkRequested || who != LinkConfirmed && who != LinkRejected {
		return state, err
	}
	if err := d.decide(inn, who == LinkConfirmed); err != nil {
		return "", err
	}
	return d.linkOf(inn)
}

func (d *taxDesk) status(inn string) (tax.Answer, error) {
	state, err := d.asked(inn)
	a := tax.Answer{SelfEmployed: selfEmployed(inn)}
	a.Linked = a.SelfEmployed && state == LinkLinked
	return a, err
}

func (d *taxDesk) link(inn string) (tax.Answer, error) {
	if !selfEmployed(inn) {
		return refused(tax.NotTaxpayer), nil
	}
	state, err := d.linkOf(inn)
	if err != nil || state == LinkLinked {
		return refused(tax.AlreadyLinked), err
	}
	if state == LinkRequested {
		var id string
		if err := d.QueryRow(`SELECT id FROM link_requests WHERE inn = ? AND state = ?`, inn, tax.LinkRequested).Scan(&id); !errors.Is(err, sql.ErrNoRows) {
			return tax.Answer{Request: id}, err
		}
	}
	id := rand.Text()
	if _, err := d.Exec(`INSERT INTO link_requests (id, inn, state) VALUES (?, ?, ?)`, id, inn, tax.LinkRequested); err != nil {
		return tax.Answer{}, err
	}
	return tax.Answer{Request: id}, d.setLink(inn, LinkRequested)
}

func (d *taxDesk) linkState(request string) (tax.Answer, error) {
	var a tax.Answer
	find := func() error {
		return d.QueryRow(`SELECT inn, state FROM link_requests WHERE id = ?`, request).Scan(&a.INN, &a.Link)
	}
	switch err := find(); {
	case errors.Is(err, sql.ErrNoRows):
		return refused(tax.NoRequest), nil
	case err != nil:
		return a, err
	}
	if _, err := d.asked(a.INN); err != nil {
		return a, err
	}
	return a, find()
}

// yearly is what a person has earned in a year.
func (d *taxDesk) yearly(inn string, year int) (money.Amount, error) {
	sum := money.Amount{Currency: money.RUB}
	err := d.QueryRow(`SELECT minor FROM incomes WHERE inn = ? AND year = ?`, inn, year).Scan(&sum.Minor)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return sum, err
	}
	if byINN[inn].outcome == NearLimit {
		return sum.Add(earned)
	}
	return sum, nil
}

func (d *taxDesk) earn(inn string, year int, minor int64) error {
	_, err := d.Exec(`INSERT INTO incomes (inn, year, minor) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET minor = minor + excluded.minor`, inn, year, minor)
	return err
}

// refusal is why the service does nothing for a person; "" if it does.
func (d *taxDesk) refusal(inn string) (tax.Refusal, error) {
	if !selfEmployed(inn) {
		return tax.NotTaxpayer, nil
	}
	if state, err := d.linkOf(inn); err != nil || state != LinkLinked {
		return tax.NotLinked, err
	}
	return "", nil
}

func (d *taxDesk) income(inn string, year int) (tax.Answer, error) {
	if why, err := d.refusal(inn); err != nil || why != "" {
		return refused(why), err
	}
	sum, err := d.yearly(inn, year)
	return tax.Answer{Income: sum}, err
}

func (d *taxDesk) register(q tax.Question) (tax.Answer, error) {
	known, err := receiptWhere(d.Tx, `operation = ?`, q.Operation)
	switch {
	case err == nil:
		return tax.Answer{Registered: &known.Receipt}, nil
	case !errors.Is(err, sql.ErrNoRows):
		return tax.Answer{}, err
	}
	who := byINN[q.INN].outcome
	switch who {
	case ReceiptNever:
		return failed, nil
	case ReceiptLate:
		if away, err := d.away(q.Operation); err != nil || away {
			d.lost = errTax
			return tax.Answer{}, err
		}
	case UnlinkedLater:
		if err := d.setLink(q.INN, LinkNone); err != nil {
			return tax.Answer{}, err
		}
	default:
	}
	if why, err := d.refusal(q.INN); err != nil || why != "" {
		return refused(why), err
	}
	sum, err := total(q.Receipt)
	if err != nil {
		return tax.Answer{}, err
	}
	year := tax.YearOf(q.Receipt.At)
	before, err := d.yearly(q.INN, year)
	if err != nil {
		return tax.Answer{}, err
	}
	if who == LimitLater || before.Minor > tax.IncomeMax.Minor-sum.Minor {
		return refused(tax.LimitExceeded), nil
	}
	made := d.world.newReceipt(q, sum)
	text, err := json.Marshal(q.Receipt)
	if err == nil {
		_, err = d.Exec(`INSERT INTO receipts (operation, inn, id, link, income, minor, at, registered, cancelled, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '')`,
			made.Operation, made.INN, made.ID, made.Link, string(text), sum.Minor, made.At.UnixMicro(), d.now.UnixMicro())
	}
	if err == nil {
		err = d.earn(q.INN, year, sum.Minor)
	}
	if err == nil && who == ReceiptLost {
		d.lost = errTaxBroke
	}
	return tax.Answer{Registered: &made}, err
}

// away reports whether the service is away for an operation that is late.
func (d *taxDesk) away(operation string) (bool, error) {
	if _, err := d.Exec(`INSERT INTO late_receipts (operation, at) VALUES (?, ?) ON CONFLICT DO NOTHING`, operation, d.now.UnixMicro()); err != nil {
		return false, err
	}
	var first int64
	err := d.QueryRow(`SELECT at FROM late_receipts WHERE operation = ?`, operation).Scan(&first)
	return d.now.UnixMicro() < first+receiptDelay.Microseconds(), err
}

// newReceipt names a receipt by its operation.
func (w *World) newReceipt(q tax.Question, sum money.Amount) tax.Receipt {
	name := w.secret.derive("receipt", []byte(q.INN), []byte(q.Operation))
	id := strings.ToLower(base32.StdEncoding.EncodeToString(name))[:10]
	return tax.Receipt{
		INN: q.INN, Operation: q.Operation, ID: id, Link: w.receiptURL(q.INN, id), Amount: sum, At: micro(q.Receipt.At),
	}
}

func (d *taxDesk) cancel(q tax.Question) (tax.Answer, error) {
	r, err := receiptWhere(d.Tx, `inn = ? AND id = ?`, q.INN, q.ReceiptID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return refused(tax.NoReceipt), nil
	case err != nil || r.Cancelled:
		return tax.Answer{}, err
	}
	if _, err := d.Exec(`UPDATE receipts SET cancelled = ?, reason = ? WHERE operation = ?`, d.now.UnixMicro(), q.Reason, r.Operation); err != nil {
		return tax.Answer{}, err
	}
	return tax.Answer{}, d.earn(r.INN, tax.YearOf(r.At), -r.Amount.Minor)
}

func compare(inn string, p tax.Person) tax.Answer {
	var a tax.Answer
	switch {
	case !selfEmployed(inn):
		return refused(tax.NotTaxpayer)
	case byINN[inn].outcome != Mismatched:
		return a
	}
	if p.LastName != "" {
		a.Mismatched = append(a.Mismatched, "last_name")
	}
	if p.Phone != "" {
		a.Mismatched = append(a.Mismatched, "phone")
	}
	return a
}

// letters are what the notified person has to read.
var letters = []tax.Notice{
	{ID: "n-1", Title: "Начислен налог", Message: "За прошлый месяц начислен налог на профессиональный доход. Срок уплаты — 28 число."},
	{ID: "n-2", Title: "Задолженность", Message: "У вас есть задолженность по налогу на профессиональный доход."},
}

func (d *taxDesk) readNotices(q tax.Question) (tax.Answer, error) {
	var a tax.Answer
	for _, inn := range q.INNs {
		one := tax.Notices{INN: inn}
		if why, err := d.refusal(inn); err != nil {
			return a, err
		} else if why == "" {
			texts, err := d.unread(inn)
			if err != nil {
				return a, err
			}
			if q.Kind == tax.CountNotices {
				one.Count = len(texts)
			} else {
				one.Texts = texts
			}
		}
		a.Notices = append(a.Notices, one)
	}
	return a, nil
}

func (d *taxDesk) unread(inn string) (list []tax.Notice, err error) {
	if byINN[inn].outcome == Notified {
		for _, n := range letters {
			if _, err := d.Exec(`INSERT INTO notices (inn, id, title, message, status, at, delivered) VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING`,
				inn, n.ID, n.Title, n.Message, tax.NoticeNew, d.now.UnixMicro()); err != nil {
				return nil, err
			}
		}
	}
	rows, err := d.Query(`SELECT id, title, message, status, at FROM notices WHERE inn = ? AND status = ? ORDER BY at, id`, inn, tax.NoticeNew)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n tax.Notice
		var at int64
		if err := rows.Scan(&n.ID, &n.Title, &n.Message, &n.Status, &at); err != nil {
			return nil, err
		}
		n.At = time.UnixMicro(at).UTC()
		list = append(list, n)
	}
	return list, rows.Err()
}

func (d *taxDesk) markNotices(q tax.Question) error {
	for inn, ids := range q.Delivered {
		for _, id := range ids {
			var err error
			if q.Kind == tax.DeliverNotices {
				_, err = d.Exec(`UPDATE notices SET delivered = ? WHERE inn = ? AND id = ? AND delivered = 0`, d.now.UnixMicro(), inn, id)
			} else {
				_, err = d.Exec(`UPDATE notices SET status = ? WHERE inn = ? AND id = ?`, tax.NoticeAcknowledged, inn, id)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *taxDesk) list(day time.Time) (tax.Answer, error) {
	var a tax.Answer
	rows, err := d.Query(selectReceipt+`at >= ? AND at < ? ORDER BY at, operation`, day.UnixMicro(), day.Add(24*time.Hour).UnixMicro())
	if err != nil {
		return a, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r, err := scanReceipt(rows)
		if err != nil {
			return a, err
		}
		a.Receipts = append(a.Receipts, r.Receipt)
	}
	return a, rows.Err()
}

// Link is a request to link a self-employed person, as the tax service has it.
type Link struct {
	INN   string    `json:"tax_reference"`
	State LinkState `json:"state"`
	// At is when the request came, of the sandbox's clock.
	At time.Time `json:"requested_at"`
}

// LinkState is how a person stands.
type LinkState string

// The states.
const (
	LinkNone      LinkState = "none"
	LinkRequested LinkState = "requested"
	LinkLinked    LinkState = "linked"
	LinkDeclined  LinkState = "rejected"
)

// DecideLink is the person's answer in the tax service's app: fault.NotFound
// where nothing was asked, fault.WrongState where it was answered before.
func (w *World) DecideLink(ctx context.Context, inn string, allow bool) error {
	before := LinkNone
	err := w.books.do(ctx, func(tx *sql.Tx) (err error) {
		d := &taxDesk{Tx: tx, world: w, now: micro(w.clock.Now())}
		if before, err = d.asked(inn); err != nil || before != LinkRequested {
			return err
		}
		return d.decide(inn, allow)
	})
	switch {
	case err != nil:
		return err
	case before == LinkNone:
		return fault.New(fault.NotFound, "no request to link %s", inn)
	case before != LinkRequested:
		return fault.New(fault.WrongState, "the request to link %s was answered: %s", inn, before)
	}
	return nil
}

// Unlink is the person taking the consent back in the tax service's app:
// fault.NotFound if they have given none.
func (w *World) Unlink(ctx context.Context, inn string) error {
	var before LinkState
	err := w.books.do(ctx, func(tx *sql.Tx) (err error) {
		d := &taxDesk{Tx: tx, world: w, now: micro(w.clock.Now())}
		if before, err = d.asked(inn); err != nil || before != LinkLinked {
			return err
		}
		return d.setLink(inn, LinkNone)
	})
	if err == nil && before != LinkLinked {
		err = fault.New(fault.NotFound, "%s is not linked", inn)
	}
	return err
}

// Links lists all people who were asked to be linked, the newest first.
func (w *World) Links(ctx context.Context) ([]Link, error) {
	rows, err := w.books.reader.QueryContext(ctx, `SELECT inn, state, at FROM links ORDER BY at DESC, inn`)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the requests to link")
	}
	defer func() { _ = rows.Close() }()
	list := []Link{} // an empty JSON array, not null
	for rows.Next() {
		var l Link
		var at int64
		if err := rows.Scan(&l.INN, &l.State, &at); err != nil {
			return nil, fault.Wrap(fault.Internal, err, "list the requests to link")
		}
		l.At = time.UnixMicro(at).UTC()
		list = append(list, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the requests to link")
	}
	return list, nil
}
