package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

// An exchange is one request on its way through, with what the log and the
// meter want to know of it.
type exchange struct {
	id       string
	start    time.Time
	route    *route // nil where the path is unknown
	version  session.Version
	project  id.Project // "" until a known project was named
	session  id.Session // 0 where none was named
	warnings []string
	from     netip.Addr    // whose address is limited; the zero Addr where none is
	wait     time.Duration // with fault.Throttled
	stack    []byte        // of a panic
	status   int           // of the answer
}

// ServeHTTP answers one request: always JSON, never a redirect, and never a
// status below 400 for an error, because the published SDK looks for an error
// only above (wire reference, core §1.5).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange{id: s.newID(), start: s.now()}
	answer, err := s.answer(w, r, &x)
	if err != nil {
		x.status = s.refuse(w, &x, err)
	} else {
		x.status = http.StatusOK
		accept(w, &x, answer)
	}
	s.observe(r.Context(), &x, answer, err)
}

// answer runs the checks in the order that the package comment gives, then the
// engine. A panic becomes fault.Internal, so that it costs one request and not
// the connection.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, x *exchange) (a payout.Answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			x.stack = debug.Stack()
			a, err = payout.Answer{}, fault.Wrap(fault.Internal, fmt.Errorf("panic: %s", instrument.MaskText(fmt.Sprint(v))), "internal failure")
		}
	}()
	if x.route, x.version, err = s.match(r); err != nil {
		return payout.Answer{}, err
	}
	if err := plain(r.Header); err != nil {
		return payout.Answer{}, err
	}
	if err := s.gate.admit(r, x); err != nil {
		return payout.Answer{}, err
	}

	buffer := buffers.Get().(*[]byte)
	defer release(buffer)
	head := appendHead((*buffer)[:0], x)
	*buffer, err = s.read(head, w, r)
	if err != nil {
		return payout.Answer{}, err
	}
	body := (*buffer)[len(head):]

	project, err := s.identify(r.Header, body, x)
	if err != nil {
		s.gate.refused(x)
		return payout.Answer{}, err
	}
	if err := s.gate.pass(project.Project, x); err != nil {
		return payout.Answer{}, err
	}
	if x.route.op == "" {
		return payout.Answer{}, fault.New(fault.Unauthorized, "this server does not offer %s", x.route.path)
	}
	call := payout.Call{Project: project.Project, Version: x.version, Print: sha256.Sum256(*buffer)}
	if call.Key, call.Replay, err = idempotency(r.Header); err != nil {
		return payout.Answer{}, err
	}
	// What an operation looks up before its command counts as well.
	ctx, cancel := context.WithTimeoutCause(r.Context(), payout.AnswerMax, payout.ErrNoOutcome)
	defer cancel()
	request, err := wire.Parse(x.route.op, x.version, project.Project, body)
	if err != nil {
		if call.Key == "" || !x.route.op.Keyed() {
			return payout.Answer{}, err
		}
		return s.engine.Refuse(ctx, call, err) // what is checked may have been less when the key was burnt
	}
	x.session, x.warnings = request.Session, request.Warnings
	return x.route.run(ctx, call, request)
}

// identify finds the project and checks its signature over the raw body with
// each of its active keys: fault.Unidentified for a project that is missing or
// unknown, fault.Unauthenticated for one whose keys do not fit. Either refusal
// costs a verification by at least one key of each type.
func (s *Server) identify(h http.Header, body []byte, x *exchange) (payout.Caller, error) {
	name, signature, err := identity(h)
	if err != nil {
		return payout.Caller{}, err
	}
	caller, known := s.engine.Caller(id.Project(name))
	if known {
		x.project = id.Project(name)
	}
	for _, key := range caller.Public {
		if key.Verify(body, signature) == nil {
			return caller, nil
		}
	}
	for _, dummy := range sign.Dummies {
		if !slices.ContainsFunc(caller.Public, func(k sign.PublicKey) bool { return k.Type() == dummy.Type() }) {
			_ = dummy.Verify(body, signature) // only for its time: the key verifies nothing
		}
	}
	if !known {
		return payout.Caller{}, fault.New(fault.Unidentified, "%s: missing or unknown", sign.HeaderProject)
	}
	return payout.Caller{}, fault.New(fault.Unauthenticated, "%s: not a signature of this body by a key of the project", sign.HeaderSign)
}

// appendHead puts before the body what an idempotency key stands for besides
// it; the two lie in one buffer so that one pass hashes both. No operation has
// a newline in its name.
func appendHead(buffer []byte, x *exchange) []byte {
	buffer = append(buffer, 'v', '0'+byte(x.version), ' ') // #nosec G115 -- 1 or 2
	buffer = append(buffer, x.route.op...)
	return append(buffer, '\n')
}

// read appends the request's body to buffer: fault.TooLarge above the limit,
// fault.Invalid if it broke off or came too slowly.
func (s *Server) read(buffer []byte, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > s.bodyMax {
		return buffer, s.tooLarge()
	}
	buffer = slices.Grow(buffer, int(max(r.ContentLength, 0))+1) // one more, to read the end
	body := http.MaxBytesReader(w, r.Body, s.bodyMax)
	for {
		if len(buffer) == cap(buffer) {
			buffer = slices.Grow(buffer, 1)
		}
		n, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case err == io.EOF:
			return buffer, nil
		case err == nil:
			continue
		}
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return buffer, s.tooLarge()
		}
		return buffer, fault.Wrap(fault.Invalid, err, "the body could not be read to its end")
	}
}

func (s *Server) tooLarge() error {
	return fault.New(fault.TooLarge, "the body is larger than %d bytes", s.bodyMax)
}

// buffers holds bodies while they are read. Nothing of a request lives longer
// than its body unless package wire has copied it.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// bufferKept is the largest buffer that goes back to the pool, in bytes.
const bufferKept = 64 << 10

// release wipes a buffer, which may have held a card number, and keeps it for
// the next request.
func release(buffer *[]byte) {
	clear((*buffer)[:cap(*buffer)])
	if cap(*buffer) <= bufferKept {
		buffers.Put(buffer)
	}
}
