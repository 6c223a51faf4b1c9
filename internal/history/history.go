// Package history judges what callers of the API were told at the same time. It
// keeps who asked what about one idempotency key or one session, when, and with
// which answer, and finds whether there is an order of the requests, one after
// the other, in which every answer is right. Tests of the engine and tests on
// real processes share it; the program has no use for it.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/anishathalye/porcupine"
)

// History is all that was asked about one thing.
type History struct {
	About    Subject
	Name     string // which key or session, for people
	Requests []Request
}

// Subject is what a history is about.
type Subject string

// The subjects.
const (
	Key     Subject = "key"     // an idempotency key that nobody has used yet
	Session Subject = "session" // a session that awaits confirmation
)

// Request is one request and its answer. From and To are since some moment that
// is the same for the whole history.
type Request struct {
	Client int           `json:"client"`
	From   time.Duration `json:"from"` // before it was sent
	To     time.Duration `json:"to"`   // after the answer, or when the caller ceased to wait
	Ask    Ask           `json:"ask"`
	Answer Answer        `json:"answer"`
}

// Ask is what a caller wants.
type Ask struct {
	Do Do `json:"do"`
	// Key says with which key a session is decided, of KeysMax; 0 for none. An
	// Init has the key that the history is about.
	Key    int  `json:"key,omitempty"`
	Replay bool `json:"replay,omitempty"`
	// Body tells one request with the key from another.
	Body int `json:"body,omitempty"`
	// Session is the one that a Look in the history of a key is for: one that
	// this history has been told of.
	Session string `json:"session,omitempty"`
}

// KeysMax is how many keys may take part in the decision of a session.
const KeysMax = 2

// Do is an operation.
type Do string

// The operations.
const (
	Init    Do = "init"
	Confirm Do = "confirm"
	Cancel  Do = "cancel"
	Look    Do = "look" // at the status
)

// Answer is what a caller was told.
type Answer struct {
	Kind     Kind   `json:"kind"`
	Replayed bool   `json:"replayed,omitempty"` // Good: it is the answer to an earlier request
	Session  string `json:"session,omitempty"`  // Good: whose
	Awaits   bool   `json:"awaits,omitempty"`   // Good, to a Look: it awaits confirmation
}

// Kind is the kind of an answer.
type Kind string

// The kinds.
const (
	Good    Kind = "good"
	Taken   Kind = "taken"   // refused: the key is used
	Wrong   Kind = "wrong"   // refused: the session is not in the state for it
	Missing Kind = "missing" // there is no such session
	Undone  Kind = "undone"  // the server says that it has not done it
	Lost    Kind = "lost"    // no answer, or one that knows nothing: it may have been done, or be done later, or never
)

// Errors of Judge.
var (
	ErrNoOrder   = errors.New("no order of the requests explains the answers")
	ErrUndecided = errors.New("no order was found, nor that there is none")
)

// Judge finds an order that explains all answers, within the time given. It
// returns ErrNoOrder if there is none, and ErrUndecided after that time.
func (h *History) Judge(most time.Duration) error {
	return judge(h.model(), operations(thin(h.Requests)), most)
}

func judge(m porcupine.Model, operations []porcupine.Operation, most time.Duration) error {
	switch porcupine.CheckOperationsTimeout(m, operations, most) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return ErrNoOrder
	}
	return fmt.Errorf("%w in %s", ErrUndecided, most)
}

func (h *History) model() porcupine.Model {
	if h.About == Key {
		return keyModel
	}
	return sessionModel
}

func operations(requests []Request) []porcupine.Operation {
	operations := make([]porcupine.Operation, len(requests))
	for i, r := range requests {
		operations[i] = porcupine.Operation{ClientId: r.Client, Input: r.Ask, Output: r.Answer, Call: int64(r.From), Return: int64(r.To)}
		if r.Answer.Kind == Lost {
			operations[i].Return = math.MaxInt64
		}
	}
	return operations
}

// thin leaves out requests that are explained wherever the others are, so that
// many copies of one request, any of which could be the first, need no search
// through all their orders. What a history is about changes once: a key is used,
// a session decided. So of requests that ask the same and are told the same,
// one is enough:
//
//   - of those that change nothing and are right from the change on, the first
//     that was answered: the others can come right behind it, or later;
//   - of those that are right until then, the last that was sent;
//   - of those that were lost, the first that was sent: at most one of them has
//     done anything, and it may have been that one.
//
// What was not done needs no place in any order, and neither does a look
// without an answer.
func thin(requests []Request) []Request {
	best := map[kin]int{} // in kept
	var kept []Request
	for _, r := range requests {
		if r.Answer.Kind == Undone || r.Answer.Kind == Lost && r.Ask.Do == Look {
			continue
		}
		i, found := best[r.kin()]
		switch {
		case !found || r.changes():
			best[r.kin()] = len(kept)
			kept = append(kept, r)
		case r.Answer.Kind == Lost && r.From < kept[i].From,
			r.Answer.Kind != Lost && r.before() && r.From > kept[i].From,
			r.Answer.Kind != Lost && !r.before() && r.To < kept[i].To:
			kept[i] = r
		}
	}
	return kept
}

// kin is what an answer says, whoever gets it: those of the same kin are right
// in the same states, and do the same.
type kin struct {
	ask  Ask
	told Answer
}

func (r *Request) kin() kin {
	k := kin{r.Ask, r.Answer}
	switch {
	case r.Ask.Do == Look:
	case r.Answer.Kind == Wrong && r.Ask.Do != Init: // whatever was decided
		k.ask.Do, k.ask.Replay = "", false
	case r.Answer.Kind == Taken && !r.Ask.Replay: // whatever it was used for
		k.ask.Do, k.ask.Body = "", 0
	case r.Answer.Kind == Lost: // what it did does not tell that it was ready to be a repeat
		k.ask.Replay = false
	}
	return k
}

// changes reports whether the request is the one that made the change, as its
// caller was told.
func (r *Request) changes() bool {
	return r.Answer.Kind == Good && !r.Answer.Replayed && r.Ask.Do != Look
}

// before reports whether the request, which changes nothing, is right as long
// as nothing has changed; else it is right from then on.
func (r *Request) before() bool { return r.Answer.Kind == Missing || r.Answer.Awaits }

// Count counts the requests whose answer is of one of the kinds.
func (h *History) Count(kinds ...Kind) int {
	n := 0
	for _, r := range h.Requests {
		for _, k := range kinds {
			if r.Answer.Kind == k {
				n++
			}
		}
	}
	return n
}

// head is the first line of a file; a line for each request follows.
type head struct {
	About Subject `json:"about"`
	Name  string  `json:"name"`
}

// Keep writes the history into a new file of the folder, which it makes if
// there is none, and returns the file's name.
func (h *History) Keep(folder string) (name string, err error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(folder, string(h.About)+"-*.jsonl")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	if err := lines.Encode(head{h.About, h.Name}); err != nil {
		return "", err
	}
	for i := range h.Requests {
		if err := lines.Encode(&h.Requests[i]); err != nil {
			return "", err
		}
	}
	return filepath.Clean(f.Name()), w.Flush()
}

// Read reads what Keep has written.
func Read(file string) (*History, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	lines := json.NewDecoder(bufio.NewReader(f))
	lines.DisallowUnknownFields()
	var first head
	if err := lines.Decode(&first); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if first.About != Key && first.About != Session {
		return nil, fmt.Errorf("%s: a history about %q", file, first.About)
	}
	h := &History{About: first.About, Name: first.Name}
	for {
		var r Request
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF):
			return h, nil
		case err != nil:
			return nil, fmt.Errorf("%s: request %d: %w", file, len(h.Requests)+1, err)
		case r.Ask.Key < 0 || r.Ask.Key > KeysMax:
			return nil, fmt.Errorf("%s: request %d: key %d", file, len(h.Requests)+1, r.Ask.Key)
		}
		h.Requests = append(h.Requests, r)
	}
}
