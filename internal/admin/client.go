package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
)

// A server that has just begun holds the folder a moment before it answers.
const (
	patience = 5 * time.Second
	retryGap = 100 * time.Millisecond
)

// Place is where an installation is and how to open it in this process.
type Place struct {
	Sockets  []string // where servers may listen; any that answers will do
	Database string   // as the server's Options name it
	Operator string   // who acts, for the audit of the vault
	// Open opens the installation here. The error has syscall.EWOULDBLOCK in it
	// if another process holds it.
	Open func(context.Context) (handler http.Handler, closeIt func() error, err error)
}

// Client does an operator's commands: through the running server or, where
// there is none, in this process. Errors are those of the handler, with their
// codes.
type Client struct {
	database string
	operator string
	trip     http.RoundTripper
	closeIt  func() error
}

// Connect finds a running server by its socket, of several the first, or else opens the installation
// here. A socket that nobody listens on is what a killed server leaves behind.
// fault.Busy if somebody holds the installation but does not answer.
func Connect(ctx context.Context, p Place) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if socket, ok := answering(ctx, p.Sockets); ok {
			transport := &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
			}
			return &Client{p.Database, p.Operator, transport, func() error {
				transport.CloseIdleConnections()
				return nil
			}}, nil
		}
		// The opened installation outlives the patience.
		handler, closeIt, err := p.Open(context.WithoutCancel(ctx))
		switch {
		case err == nil:
			return &Client{p.Database, p.Operator, here{handler}, closeIt}, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fault.Wrap(fault.Busy, err, "another payoutd holds the database %s but does not answer on %s", p.Database, strings.Join(p.Sockets, ", "))
		case <-time.After(retryGap):
		}
	}
}

// answering finds a socket that a server listens on.
func answering(ctx context.Context, sockets []string) (socket string, ok bool) {
	for _, socket := range sockets {
		if c, err := dial(ctx, socket); err == nil {
			_ = c.Close()
			return socket, true
		}
	}
	return "", false
}

// Close lets go of the installation.
func (c *Client) Close() error { return c.closeIt() }

// Projects lists all projects by ID.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	return call[[]Project](ctx, c, opList, nothing{})
}

// Project shows one; fault.NotFound if it does not exist.
func (c *Client) Project(ctx context.Context, p id.Project) (Project, error) {
	return call[Project](ctx, c, opShow, named{p})
}

// Create makes a project; fault.Invalid if it exists or a setting is wrong.
func (c *Client) Create(ctx context.Context, r CreateRequest) (Project, error) {
	return call[Project](ctx, c, opCreate, r)
}

// Set changes settings of a project.
func (c *Client) Set(ctx context.Context, r SetRequest) (Project, error) {
	return call[Project](ctx, c, opSet, r)
}

// AddKey adds a public key to a project; one that is there stays as it is.
func (c *Client) AddKey(ctx context.Context, p id.Project, pem string) (KeyResult, error) {
	return call[KeyResult](ctx, c, opAddKey, KeyRequest{Project: p, PublicKey: pem})
}

// RetireKey stops a key from being accepted, for good.
func (c *Client) RetireKey(ctx context.Context, p id.Project, key string) (KeyResult, error) {
	return call[KeyResult](ctx, c, opRetireKey, KeyRequest{Project: p, KeyID: key})
}

// AddAccount lets a project pay from an account of its own.
func (c *Client) AddAccount(ctx context.Context, r AccountRequest) (AccountResult, error) {
	return call[AccountResult](ctx, c, opAccount, r)
}

// Deposit books money, once per reference.
func (c *Client) Deposit(ctx context.Context, r DepositRequest) (Deposit, error) {
	return call[Deposit](ctx, c, opDeposit, r)
}

// Webhooks lists webhook events, oldest session first.
func (c *Client) Webhooks(ctx context.Context, r WebhooksRequest) ([]Webhook, error) {
	return call[[]Webhook](ctx, c, opWebhooks, r)
}

// Replay delivers webhook events again.
func (c *Client) Replay(ctx context.Context, r ReplayRequest) (Replay, error) {
	return call[Replay](ctx, c, opReplay, r)
}

// Report opens the daily report of a project; the caller closes it. A server
// that breaks off in the middle is an error of reading, never an early end.
func (c *Client) Report(ctx context.Context, r ReportRequest) (Report, error) {
	r.Actor = c.operator
	body, err := json.Marshal(r)
	if err != nil {
		return Report{}, fmt.Errorf("write the command: %w", err)
	}
	answer, err := c.do(ctx, opReport, bytes.NewReader(body))
	if err != nil {
		return Report{}, err
	}
	return Report{Name: answer.Header.Get(headerFile), Unfinished: answer.Header.Get(headerUnfinished) != "", Body: answer.Body}, nil
}

// Check proves the books, and that they go through the heads that were kept.
func (c *Client) Check(ctx context.Context, kept ...payout.Head) (*payout.Report, error) {
	return call[*payout.Report](ctx, c, opCheck, checkRequest{c.operator, kept})
}

func call[Out any](ctx context.Context, c *Client, op string, in any) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("write the command: %w", err)
	}
	return send[Out](ctx, c, op, bytes.NewReader(body))
}

// send is call for an input that is ready.
func send[Out any](ctx context.Context, c *Client, op string, body io.Reader) (out Out, err error) {
	answer, err := c.do(ctx, op, body)
	if err != nil {
		return out, err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return out, fault.Wrap(fault.Internal, err, "the server's answer can't be read: is it another release?")
	}
	return out, nil
}

// do gives a command and returns the answer to one that is done, whose body the
// caller closes.
func (c *Client) do(ctx context.Context, op string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://payoutd"+op, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set(headerDatabase, c.database)
	answer, err := c.trip.RoundTrip(request)
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "the server broke off: whether the command was done is open")
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	var r refusal
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil || r.Code == "" {
		return nil, fault.New(fault.Internal, "the server answered with status %d: is it another release?", answer.StatusCode)
	}
	return nil, fault.New(r.Code, "%s", r.Text)
}

// here calls a handler of this process, whose answer is read while it writes.
type here struct{ handler http.Handler }

func (h here) RoundTrip(r *http.Request) (*http.Response, error) {
	body, writer := io.Pipe()
	w := &recorder{header: http.Header{}, body: writer, begun: make(chan int, 1)}
	go func() {
		defer func() {
			if fault := recover(); fault != nil { // as a server does: the connection ends in the middle
				_ = writer.CloseWithError(io.ErrUnexpectedEOF)
				if fault != http.ErrAbortHandler {
					panic(fault)
				}
			}
			w.WriteHeader(http.StatusOK)
			_ = writer.Close() // has no effect after CloseWithError
		}()
		h.handler.ServeHTTP(w, r)
	}()
	status := <-w.begun
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: body, ContentLength: -1, Request: r,
	}, nil
}

// recorder hands on what a handler answers.
type recorder struct {
	header http.Header
	body   *io.PipeWriter
	begun  chan int // takes the status, once
	wrote  bool
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.wrote = true
		r.begun <- status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}
