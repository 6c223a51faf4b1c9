// Package client is a Go client of the payout API: signed requests, sessions as
// they come back, and webhooks checked before they are read. It speaks to any
// server of the same wire.
//
// A payout that was answered with an error of the transport, an Error with status
// 500 or above, or one that is unreadable, may have been started: ask for its
// status, or repeat the call with the same idempotency key and WithReplay. Never
// repeat it without a key. An Error of payoutd's with status 503, which is not
// CodeUnreadable, or with 429 is none of these: nothing was done, and the same call
// may be made again later, with the same key too.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/payoutd/payoutd/sign"
)

// Client calls the API in the name of one project. It is safe for concurrent
// use.
type Client struct {
	base    string // URL without a slash at its end
	project string
	key     sign.PrivateKey
	version int
	http    *http.Client
	now     func() time.Time
	trace   func(Exchange)
}

// Defaults, chosen for the clients that the reference knows (core §1.2): the
// published SDK waits 30 seconds.
const (
	versionDefault = 2
	timeoutDefault = 30 * time.Second
	// answerBytesMax bounds what is read of an answer.
	answerBytesMax = 8 << 20
)

// Option changes a Client.
type Option func(*Client)

// WithVersion takes the paths and names of API version 1 or 2; 2 by default.
// Balance, FPSBanks and the operations on tokens are of version 1 always, since
// there is no other.
func WithVersion(version int) Option { return func(c *Client) { c.version = version } }

// WithHTTPClient takes another HTTP client. It should not follow redirects, and
// needs a time-out of its own where calls come without a deadline.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithClock takes another clock for the times within requests.
func WithClock(now func() time.Time) Option { return func(c *Client) { c.now = now } }

// WithTrace calls observe after each exchange, from the goroutine of the call.
func WithTrace(observe func(Exchange)) Option { return func(c *Client) { c.trace = observe } }

// Exchange is one request and its answer as they were on the wire. The request
// holds a card number in clear where one was sent: mask it before it is shown.
type Exchange struct {
	Method   string
	Path     string
	Header   http.Header // of the request
	Request  []byte
	Status   int // of HTTP; 0 if no answer came
	Response []byte
}

// New returns a client of the server at address, such as
// http://127.0.0.1:8131, for the project whose requests key signs. Its HTTP
// client keeps connections alive, waits 30 seconds and follows no redirect.
func New(address, project string, key sign.PrivateKey, options ...Option) (*Client, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("client: address %q: want http:// or https:// and a host", u.Redacted())
	case project == "":
		return nil, errors.New("client: no project")
	case key.Public().Type() == "":
		return nil, errors.New("client: no key")
	}
	c := &Client{
		base: strings.TrimRight(address, "/"), project: project, key: key,
		version: versionDefault, now: time.Now,
	}
	for _, option := range options {
		option(c)
	}
	if c.version != 1 && c.version != 2 {
		return nil, fmt.Errorf("client: API version %d: want 1 or 2", c.version)
	}
	if c.http == nil {
		c.http = defaultHTTP()
	}
	return c, nil
}

func defaultHTTP() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // all calls go to one host
	return &http.Client{
		Transport: transport,
		Timeout:   timeoutDefault,
		// A redirected POST would become a GET, or go to a host that has no
		// business with its card number.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CallOption changes one call.
type CallOption func(http.Header)

// WithKey sends an idempotency key, 1 to 255 printable ASCII characters: the
// server carries out one call of a project with it. A second one is refused
// with CodeKeyExists, unless WithReplay stands beside it.
func WithKey(key string) CallOption {
	return func(h http.Header) { h.Set(sign.HeaderKey, key) }
}

// WithReplay asks for the first answer again if the key was used before, and
// Session.Replayed tells that it was. Servers other than payoutd may not know
// it, and then refuse.
func WithReplay() CallOption {
	return func(h http.Header) { h.Set(sign.HeaderMode, "replay") }
}

// Error is a refusal by the server.
type Error struct {
	Code        string // such as invalid_request; CodeUnreadable if it sent none
	Description string
	HTTP        int // status
}

// Codes that callers often tell apart (wire reference, core §1.7).
const (
	CodeInvalid    = "invalid_request"
	CodeWrongState = "session_wrong_state"
	CodeKeyExists  = "idempotency_key_already_exists"
	CodeInternal   = "internal_error"
	// CodeUnreadable is the client's own: the answer was not one of the API.
	CodeUnreadable = "api_exception"
)

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (HTTP %d)", e.Code, e.Description, e.HTTP)
}

// Create makes a session; nothing is paid yet. What of the payout the request
// already holds need not be repeated in StartPayout.
func (c *Client) Create(ctx context.Context, r Request, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/create", c.body("", r), options)
}

// StartPayout starts a payout in a created session; what r holds replaces what
// the session was created with.
func (c *Client) StartPayout(ctx context.Context, session string, r Request, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/start/payout", c.body(session, r), options)
}

// InitPayout creates a session and starts its payout in one call. It should
// carry an idempotency key: without one, a lost answer leaves no way to find
// out whether money moved.
func (c *Client) InitPayout(ctx context.Context, r Request, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/init/payout", c.body("", r), options)
}

// Status reads a session.
func (c *Client) Status(ctx context.Context, session string, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/status", requestBody{Session: session}, options)
}

// Confirm releases the payouts of a session that awaits it.
func (c *Client) Confirm(ctx context.Context, session string, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/confirm", requestBody{Session: session}, options)
}

// ConfirmWith is Confirm with the confirm_information that the bank sent, for
// payouts from settlement and escrow accounts.
func (c *Client) ConfirmWith(ctx context.Context, session string, information json.RawMessage, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/confirm", requestBody{Session: session, Information: information}, options)
}

// Cancel drops a created session, or one that awaits confirmation. The answer
// may still show it in progress: the cancellation is final when WaitFor or a
// webhook says so.
func (c *Client) Cancel(ctx context.Context, session string, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/cancel", requestBody{Session: session}, options)
}

// VerifyFPS asks whether a phone is known at a member bank of the faster
// payment system; no money moves. The session ends accepted if it is, else
// cancelled. An empty session makes a new one.
func (c *Client) VerifyFPS(ctx context.Context, session, phone, bankID string, recipient Person, options ...CallOption) (Session, error) {
	return c.session(ctx, "fps/customer_verification", c.body(session, Request{
		Details: &Details{Type: "bank_account", BankAccount: &BankAccount{
			SystemType:   "faster_payment_system_verification",
			Verification: &Phone{Phone: phone, BankID: bankID},
		}},
		Participants: &Participants{Recipient: &recipient},
	}), options)
}

// Balance reads the project's balances at the bank.
func (c *Client) Balance(ctx context.Context) ([]Balance, error) {
	body := struct {
		At string `json:"request_datetime"`
	}{c.now().UTC().Format(time.RFC3339)}
	a, err := c.call(ctx, http.MethodPost, "/api/v1/wallet/balance", body, nil)
	return a.Wallets, err
}

// FPSBanks lists the members of the faster payment system.
func (c *Client) FPSBanks(ctx context.Context) ([]Bank, error) {
	a, err := c.call(ctx, http.MethodGet, "/api/v1/fps/banks", nil, nil)
	return a.Banks, err
}

// Gaps between the questions of WaitFor.
const (
	gapFirst = 50 * time.Millisecond
	gapMax   = 5 * time.Second
)

// WaitFor reads the session until is says yes, with growing gaps, from 50
// milliseconds to 5 seconds, and returns it as it then is. Failures of the
// transport and of the server are waited through; a refusal ends it, and so
// does ctx, with the session as last seen and an error of both.
func (c *Client) WaitFor(ctx context.Context, session string, is func(Session) bool) (Session, error) {
	var last Session
	for gap := gapFirst; ; gap = min(gap*3/2, gapMax) {
		s, err := c.Status(ctx, session)
		if err == nil {
			last = s
			if is(s) {
				return s, nil
			}
		} else if refusal, ok := errors.AsType[*Error](err); ok && refusal.HTTP < http.StatusInternalServerError {
			return last, err
		}
		timer := time.NewTimer(gap)
		select {
		case <-ctx.Done():
			timer.Stop()
			return last, errors.Join(fmt.Errorf("session %s is %q: %w", session, last.Status, context.Cause(ctx)), err)
		case <-timer.C:
		}
	}
}

// AwaitsConfirm reports whether the partner is to confirm or cancel; for WaitFor.
func AwaitsConfirm(s Session) bool { return s.NextAction == NextConfirm }

// Finished reports whether the session has reached its end; for WaitFor.
func Finished(s Session) bool { return s.Status == SessionAccepted || s.Status == SessionCancelled }

// requestBody is the body of every call that names or makes a session. Which
// of Details and Method is set depends on the version.
type requestBody struct {
	Session      string          `json:"session_id,omitempty"`
	Details      *Details        `json:"payout_details,omitempty"`
	Method       *Details        `json:"payment_method,omitempty"`
	Amount       *Amount         `json:"amount_details,omitempty"`
	Participants *Participants   `json:"participant_details,omitempty"`
	Customer     *Customer       `json:"customer,omitempty"`
	Fiscal       *Fiscalization  `json:"fiscalization_details,omitempty"`
	Metadata     any             `json:"metadata,omitempty"`
	Information  json.RawMessage `json:"confirm_information,omitempty"`
}

func (c *Client) body(session string, r Request) requestBody { return c.named(c.version, session, r) }

// named is the body in the names of a version.
func (c *Client) named(version int, session string, r Request) requestBody {
	b := requestBody{
		Session: session, Amount: r.Amount, Participants: r.Participants, Customer: r.Customer, Fiscal: r.Fiscal, Metadata: r.Metadata,
	}
	if version == 1 {
		b.Method = r.Details
	} else {
		b.Details = r.Details
	}
	return b
}

// answer is the envelope of every answer (wire reference, core §1.5).
type answer struct {
	Status      string          `json:"status"`
	Error       *Failure        `json:"error"`
	Session     *Session        `json:"session"`
	Information json.RawMessage `json:"confirm_information"`
	Wallets     []Balance       `json:"wallets"`
	Balance     *struct {
		Current int64 `json:"current_balance"`
	} `json:"balance"`
	Method      *Statement      `json:"method"`
	Banks       []Bank          `json:"banks"`
	PublicToken string          `json:"public_token"`
	Token       string          `json:"token"`
	Data        json.RawMessage `json:"data"`
	Info        *TokenInfo      `json:"info"`

	Request       string          `json:"request_id"`
	SelfEmployed  *bool           `json:"is_professional_income_taxpayer"`
	Linked        bool            `json:"is_linked"`
	Mismatched    []string        `json:"mismatched_fields"`
	Notifications json.RawMessage `json:"notifications"`

	replayed bool
}

// session makes a call that answers with a session.
func (c *Client) session(ctx context.Context, op string, body requestBody, options []CallOption) (Session, error) {
	return c.sessionIn(ctx, c.version, op, body, options)
}

// sessionIn is session in a version that alone has the operation.
func (c *Client) sessionIn(ctx context.Context, version int, op string, body requestBody, options []CallOption) (Session, error) {
	return c.sessionAt(ctx, fmt.Sprintf("/api/v%d/%s", version, op), body, options)
}

func (c *Client) sessionAt(ctx context.Context, path string, body any, options []CallOption) (Session, error) {
	a, err := c.call(ctx, http.MethodPost, path, body, options)
	if err != nil {
		return Session{}, err
	}
	if a.Session == nil {
		return Session{}, &Error{CodeUnreadable, path + ": an answer without a session", http.StatusOK}
	}
	a.Session.ConfirmInformation = a.Information
	a.Session.Replayed = a.replayed
	return *a.Session, nil
}

// call signs and sends one request and reads its answer. A nil body is sent as
// no bytes at all.
func (c *Client) call(ctx context.Context, method, path string, body any, options []CallOption) (answer, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return answer{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(raw))
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", path, err)
	}
	signature, err := c.key.Sign(raw)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set(sign.HeaderProject, c.project)
	request.Header.Set(sign.HeaderSign, signature)
	for _, option := range options {
		option(request.Header)
	}

	exchange := Exchange{Method: method, Path: path, Header: request.Header, Request: raw}
	if c.trace != nil {
		defer func() { c.trace(exchange) }()
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", path, err)
	}
	defer response.Body.Close()
	exchange.Status = response.StatusCode
	exchange.Response, err = io.ReadAll(io.LimitReader(response.Body, answerBytesMax+1))
	if err != nil {
		return answer{}, fmt.Errorf("%s: read the answer: %w", path, err)
	}
	return readAnswer(path, response, exchange.Response)
}

// readAnswer tells success from refusal by the HTTP status and the envelope
// together, and believes success only if both say so.
func readAnswer(path string, response *http.Response, raw []byte) (answer, error) {
	unreadable := func(why string) error {
		return &Error{CodeUnreadable, path + ": " + why, response.StatusCode}
	}
	if len(raw) > answerBytesMax {
		return answer{}, unreadable("the answer is too long")
	}
	var a answer
	err := json.Unmarshal(raw, &a)
	switch {
	case err != nil:
		return answer{}, unreadable("the answer is not of the API: " + err.Error())
	case a.Error != nil && a.Error.Code == "":
		return answer{}, unreadable("an error without a code")
	case a.Error != nil:
		return answer{}, &Error{a.Error.Code, a.Error.Description, response.StatusCode}
	case response.StatusCode == http.StatusOK && a.Status == "pending":
		return answer{}, fmt.Errorf("%s: %w", path, ErrPending)
	case response.StatusCode != http.StatusOK || a.Status != "ok":
		return answer{}, unreadable(fmt.Sprintf("status %q without an error", a.Status))
	}
	a.replayed = response.Header.Get(sign.HeaderReplayed) == "true"
	return a, nil
}
