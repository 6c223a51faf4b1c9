package sandbox

import (
	"bytes"
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// originDefault is where a sandbox listens if nobody has said otherwise.
const originDefault = "http://127.0.0.1:8131"

// receiptURL is where a receipt is to be seen and printed.
func (w *World) receiptURL(inn, id string) string {
	return w.origin + "/sandbox/receipts/" + inn + "/" + id + "/print"
}

// receiptRow is a receipt as the tax service has it.
type receiptRow struct {
	tax.Receipt
	income     tax.Income
	registered time.Time
	reason     tax.Reason // of its cancellation
}

const selectReceipt = `SELECT operation, inn, id, link, income, minor, at, registered, cancelled, reason FROM receipts WHERE `

func scanReceipt(row interface{ Scan(...any) error }) (receiptRow, error) {
	var (
		r                         receiptRow
		income                    string
		at, registered, cancelled int64
	)
	err := row.Scan(&r.Operation, &r.INN, &r.ID, &r.Link, &income, &r.Amount.Minor, &at, &registered, &cancelled, &r.reason)
	if err != nil {
		return r, err
	}
	r.Amount.Currency = money.RUB
	r.At, r.registered, r.Cancelled = time.UnixMicro(at).UTC(), time.UnixMicro(registered).UTC(), cancelled > 0
	return r, json.Unmarshal([]byte(income), &r.income)
}

// receiptWhere reads one; sql.ErrNoRows if there is none.
func receiptWhere(db interface {
	QueryRow(query string, args ...any) *sql.Row
}, where string, args ...any,
) (receiptRow, error) {
	return scanReceipt(db.QueryRow(selectReceipt+where, args...))
}

// Receipts lists what the tax service has registered, the oldest first.
func (w *World) Receipts(ctx context.Context) (list []tax.Receipt, err error) {
	rows, err := w.books.reader.QueryContext(ctx, selectReceipt+`1 ORDER BY registered, operation`)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the receipts")
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r, err := scanReceipt(rows)
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "list the receipts")
		}
		list = append(list, r.Receipt)
	}
	if err := rows.Err(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the receipts")
	}
	return list, nil
}

var (
	//go:embed receipt.html
	receiptHTML string
	//go:embed receipt.css
	receiptCSS []byte

	receiptPage = template.Must(template.New("receipt").Parse(receiptHTML))
)

// receiptView is what the page shows: the same, in the same words, as the
// receipts that people know from the app «Мой налог».
type receiptView struct {
	ID, Date, Time string
	Seller         string
	INN            string
	Lines          []receiptLine
	Total          string
	Payer          tax.Payer
	Foreign        bool
	Link           string
	Cancelled      string // why; "" if it is not
	Code           template.HTML
}

type receiptLine struct {
	No        int
	Name      string
	Quantity  int
	Each, Sum string
}

// The words of the service for why a receipt was cancelled.
var reasons = map[tax.Reason]string{
	tax.ReasonRefund:  "Возврат средств",
	tax.ReasonMistake: "Чек сформирован ошибочно",
}

// sellers are the names of people whom the simulated tax service makes up: it
// is told none.
var sellers = []string{"Орлов П. И.", "Петрова А. С.", "Соколов Д. А.", "Кузнецова М. В.", "Волков И. Н.", "Зайцева Е. О.", "Морозов К. Л."}

func viewOf(r receiptRow) (receiptView, error) {
	at := r.At.In(tax.Moscow)
	n := 0
	for _, digit := range r.INN {
		n += int(digit - '0')
	}
	v := receiptView{
		ID: r.ID, Date: at.Format("02.01.2006"), Time: at.Format("15:04"), Seller: sellers[n%len(sellers)], INN: r.INN,
		Total: roubles(r.Amount.Minor), Payer: r.income.Payer, Foreign: r.income.Payer.Type == tax.PayerForeign, Link: r.Link,
	}
	if r.Cancelled {
		if v.Cancelled = reasons[r.reason]; v.Cancelled == "" {
			v.Cancelled = string(r.reason)
		}
	}
	for i, line := range r.income.Services {
		v.Lines = append(v.Lines, receiptLine{
			i + 1, line.Name, line.Quantity, roubles(line.Amount.Minor), roubles(line.Amount.Minor * int64(line.Quantity)),
		})
	}
	code, err := qr.Encode(r.Link, qr.M)
	if err != nil {
		return v, err
	}
	v.Code = drawing(code)
	return v, nil
}

// roubles writes kopecks as Russians do: "12 345,60 ₽".
func roubles(minor int64) string {
	whole := fmt.Sprint(minor / 100)
	var b strings.Builder
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteRune('\u00a0') // keeps a number on one line
		}
		b.WriteRune(digit)
	}
	return fmt.Sprintf("%s,%02d\u00a0₽", b.String(), minor%100)
}

// quiet is the margin that a QR code needs, in its squares (ISO/IEC 18004).
const quiet = 4

// drawing is a QR code as SVG.
func drawing(code *qr.Code) template.HTML {
	var b bytes.Buffer
	size := code.Size + 2*quiet
	fmt.Fprintf(&b, `<svg class="code" role="img" aria-label="QR-код чека" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`, size, size, size, size)
	for y := range code.Size {
		for x, run := 0, 0; x < code.Size; x += run + 1 {
			for run = 0; code.Black(x+run, y); run++ { // nothing is black outside
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()) // #nosec G203 -- nothing in it comes from outside but which squares are black
}

// printReceipt serves the page of one receipt.
func (s *server) printReceipt(w http.ResponseWriter, r *http.Request) {
	page, err := s.receipt(r.Context(), r.PathValue("inn"), r.PathValue("id"))
	if err != nil {
		reply(w, nil, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(page) // whoever has left needs no answer
}

func (s *server) receipt(ctx context.Context, inn, id string) ([]byte, error) {
	found, err := scanReceipt(s.world.books.reader.QueryRowContext(ctx, selectReceipt+`inn = ? AND id = ?`, inn, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fault.New(fault.NoRoute, "no such receipt")
	case err != nil:
		return nil, fault.Wrap(fault.Internal, err, "books of the simulated world")
	}
	v, err := viewOf(found)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the receipt cannot be drawn")
	}
	var b bytes.Buffer
	if err := receiptPage.Execute(&b, v); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the receipt cannot be drawn")
	}
	return b.Bytes(), nil
}

func receiptStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(receiptCSS)
}
