package api

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

const headerRequest = "X-Request-Id"

// Header values that never change are shared by all answers.
var (
	typeJSON = []string{"application/json"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
)

// accept writes an answer with status 200.
func accept(w http.ResponseWriter, x *exchange, a payout.Answer) {
	if a.Replayed {
		w.Header().Set(sign.HeaderReplayed, "true")
	}
	write(w, x, http.StatusOK, a.Body)
}

// refuse writes the error envelope for err and returns its status.
func (s *Server) refuse(w http.ResponseWriter, x *exchange, err error) int {
	code := fault.CodeOf(err)
	row := fault.Lookup(code)
	switch code {
	case fault.BadVerb:
		w.Header().Set("Allow", strings.Join(x.route.verbs, ", "))
	case fault.Busy:
		w.Header().Set("Retry-After", "1")
	case fault.Restoring:
		w.Header().Set("Retry-After", "30") // people are at work on it
	case fault.Throttled:
		w.Header().Set("Retry-After", strconv.FormatInt(int64(max((x.wait+time.Second-1)/time.Second, 1)), 10))
	}
	status := statusOf(row)
	write(w, x, status, wire.Error(row.Wire, textOf(err, row, x.id)))
	return status
}

// statusOf is the HTTP status of an error. A code that belongs into a payout
// and yet refuses a request is a business refusal, which the wire reference
// (core §1.5) puts at 400; below that the published SDK would not see it.
func statusOf(row fault.Row) int {
	if row.HTTP < http.StatusBadRequest {
		return http.StatusBadRequest
	}
	return row.HTTP
}

// passes reports whether a failure of ours is one that ends by itself, with
// nothing done.
func passes(c fault.Code) bool { return c == fault.Busy || c == fault.Restoring }

// textOf is the description that the partner sees. What went wrong inside is
// for the log: the partner gets the number to ask with, or is told to come again.
func textOf(err error, row fault.Row, request string) string {
	e, _ := errors.AsType[*fault.Error](err)
	switch {
	case passes(fault.CodeOf(err)), fault.CodeOf(err) == fault.Throttled:
		return row.Text
	case row.Wire == fault.Internal:
		return "internal failure; request " + request
	case e == nil || e.Text == "":
		return row.Text
	}
	return e.Text
}

// write sends a whole answer. An error of Write means that the partner has
// gone; what was done stays done, and a repeat of the request tells of it.
func write(w http.ResponseWriter, x *exchange, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h[headerRequest] = []string{x.id}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // #nosec G705 -- JSON, said to be it and not to be sniffed
}

// requestID makes "rq_" and 16 random hex digits. They need not be secret, only
// apart; the prefix keeps those that happen to be decimal from looking like the
// number of a card.
func requestID() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64()) // #nosec G404 -- need not be secret, see above
	return "rq_" + hex.EncodeToString(b[:])
}
