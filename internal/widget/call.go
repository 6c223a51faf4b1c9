package widget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"

	"github.com/payoutd/payoutd/internal/fault"
)

// callBytesMax bounds the body of a call; the longest good one is under 300.
const callBytesMax = 2 << 10

// request is the body of every call; each looks at its own fields.
type request struct {
	Token   string `json:"public_token"`
	Number  number `json:"number"`
	BIK     string `json:"bik"`
	Account string `json:"account"`
	Person  string `json:"tax_reference_or_phone"`
}

// number is a row of digits that can be wiped: no string is ever made of it.
type number []byte

// UnmarshalJSON takes a JSON string of at most 32 ASCII digits. It does not
// quote what it refuses.
func (n *number) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || len(b) > 34 {
		return errors.New("want a string of digits")
	}
	for _, c := range b[1 : len(b)-1] {
		if c < '0' || c > '9' {
			return errors.New("want a string of digits")
		}
	}
	*n = append(number(nil), b[1:len(b)-1]...)
	return nil
}

// call is the handler of one call from our own frame: the body is read, the
// caller and the token are counted, and everything is wiped when it is answered.
func (s *Server) call(name string, serve func(context.Context, *request) (any, error)) http.Handler {
	pages := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.now()
		answer, err := func() (_ any, err error) {
			defer func() {
				if v := recover(); v != nil {
					s.log.ErrorContext(r.Context(), "panic in a widget's call", "call", name, "stack", string(debug.Stack()))
					err = fault.New(fault.Internal, "internal failure")
				}
			}()
			if pages.Check(r) != nil {
				return nil, fault.New(fault.Unauthorized, "only the widget's own frame may call")
			}
			if !s.callers.allow(s.caller(r)) {
				return nil, fault.New(fault.Throttled, "too many calls from this address; wait a minute")
			}
			if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
				return nil, fault.New(fault.Invalid, "Content-Type: want application/json")
			}
			buffer := make([]byte, 0, callBytesMax)
			defer func() { clear(buffer[:cap(buffer)]) }()
			buffer, err = readAll(buffer, r.Body)
			if err != nil {
				return nil, err
			}
			var in request
			defer func() { clear(in.Number) }()
			if err := json.Unmarshal(buffer, &in); err != nil {
				return nil, fault.New(fault.Invalid, "the body is not a call: %s", place(err))
			}
			if !wellFormed(in.Token) {
				return nil, fault.New(fault.NotFound, "public_token: unknown")
			}
			if !s.tokens.allow(in.Token) {
				return nil, fault.New(fault.Throttled, "too many calls with this token; wait a minute")
			}
			return serve(r.Context(), &in)
		}()
		status := reply(w, answer, err)
		attrs := []any{"call", name, "status", status, "duration", s.now().Sub(start)}
		var code fault.Code // of a call that went well
		if err != nil {
			code = fault.CodeOf(err)
			attrs = append(attrs, "code", code)
		}
		s.calls.WithLabelValues(name, string(code)).Inc()
		if status >= http.StatusInternalServerError {
			s.log.ErrorContext(r.Context(), "widget call failed", append(attrs, "error", err)...)
			return
		}
		s.log.InfoContext(r.Context(), "widget call", attrs...)
	})
}

// place says where a body is wrong without quoting from it, which errors of
// encoding/json may do.
func place(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s: want a JSON %s", e.Field, e.Type)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("no JSON at byte %d", e.Offset)
	}
	return "number: want a string of digits"
}

// readAll reads a body into buffer, whose capacity is the most it may have.
func readAll(buffer []byte, body io.Reader) ([]byte, error) {
	for {
		if len(buffer) == cap(buffer) {
			return buffer, fault.New(fault.TooLarge, "the body is larger than %d bytes", callBytesMax-1)
		}
		n, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case err == io.EOF:
			return buffer, nil
		case err != nil:
			return buffer, fault.Wrap(fault.Invalid, err, "the body could not be read to its end")
		}
	}
}

// wellFormed reports whether a token has the form of one: 64 hex digits, lower
// case.
func wellFormed(token string) bool {
	if len(token) != 64 {
		return false
	}
	for _, c := range []byte(token) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func (s *Server) card(ctx context.Context, in *request) (any, error) {
	if len(in.Number) == 0 {
		return nil, fault.New(fault.Invalid, "number: missing")
	}
	card, err := s.desk.Card(ctx, in.Token, in.Number)
	if err != nil {
		return nil, err
	}
	return struct {
		Status string `json:"status"`
		Hash   string `json:"number_hash"`
		Brand  string `json:"brand"`
		Last4  string `json:"last4"`
	}{"ok", card.NumberHash, string(card.Brand), card.Last4}, nil
}

func (s *Server) account(ctx context.Context, in *request) (any, error) {
	account, err := s.desk.Account(ctx, in.Token, in.BIK, in.Account)
	if err != nil {
		return nil, err
	}
	return struct {
		Status string `json:"status"`
		Token  string `json:"token"`
		Masked string `json:"masked_account"`
	}{"ok", account.Token, account.Masked}, nil
}

func (s *Server) link(ctx context.Context, in *request) (any, error) {
	return linkAnswer(s.desk.Link(ctx, in.Token, in.Person))
}

func (s *Server) linkState(ctx context.Context, in *request) (any, error) {
	return linkAnswer(s.desk.LinkState(ctx, in.Token))
}

func linkAnswer(state LinkState, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return struct {
		Status string    `json:"status"`
		State  LinkState `json:"state"`
	}{"ok", state}, nil
}

// reply writes an answer or an error in the envelope of the API (wire
// reference, core §1.5). The codes are finer than the API's, for the frame has
// to tell a token that is used from a number that is wrong.
func reply(w http.ResponseWriter, answer any, err error) int {
	status := http.StatusOK
	if err != nil {
		code := fault.CodeOf(err)
		status = fault.Lookup(code).HTTP
		if status == 0 {
			status = http.StatusBadRequest // a code of payouts
		}
		description := fault.Lookup(code).Text
		if e, ok := errors.AsType[*fault.Error](err); ok && status < http.StatusInternalServerError {
			description = e.Text
		}
		answer = map[string]any{"status": "error", "error": map[string]any{"code": code, "description": description}}
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "60")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // whoever has left needs no answer
	return status
}
