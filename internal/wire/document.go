package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/internal/fault"
)

// The bounds of a body. How many bytes it has is bounded before it comes here.
const (
	depthMax      = 32
	nodesMax      = 4096         // members and elements, what is kept whole and what is ignored not counted
	listNodesMax  = 8 * nodesMax // where there is a list of payouts
	violationsMax = 20           // listed in one answer
)

// ref names a node of a document by its index.
type ref int32

const (
	absent ref = iota // no such member, or null
	root              // the body
)

// A node is one value of the body. Nulls have none: they count as absent.
type node struct {
	kind        jsontext.Kind
	parent      ref
	first, last ref    // of its members or elements
	next        ref    // member or element of the same parent
	name        []byte // of a member, without quotes and escapes
	raw         []byte // a scalar or metadata, as it was sent
}

// A document is a body, read once, with everything that was found wrong in it.
type document struct {
	nodes      []node
	nodesMax   int
	violations []string
	more       int // violations above violationsMax
	warnings   []string
}

// look is what is done with a member of the body.
type look int

const (
	skip   look = iota // whatever it holds (wire reference, core §2.10)
	inside             // all that is in it becomes nodes
	whole              // it is kept as it stands, nulls included
	list               // of objects whose members are treated as those of the body
)

// known are the members that operations on sessions look at.
var known = map[string]look{
	"session_id": inside, "payment_method": inside, "payout_details": inside, amountDetails: inside,
	participantDetails: inside, "customer": inside, "request_datetime": inside, fiscalization: inside,
	metadata: whole, confirmInformation: whole,
	customRouting: inside, paymentOptions: inside, paymentMetadata: whole, revenueSplit: inside,
}

// knownToMulti are those that session/multi/init looks at: in the body, and in
// each payout of its list.
var knownToMulti = map[string]look{
	PayoutList: list, paymentList: inside,
	"payment_method": inside, "payout_details": inside, amountDetails: inside,
	participantDetails: inside, "customer": inside, fiscalization: inside,
	metadata: whole, customRouting: inside, paymentOptions: inside, paymentMetadata: whole, revenueSplit: inside,
}

// metadata is the partner's alone.
const metadata = "metadata"

// read reads a body: an object, or what stands for an empty one, namely []
// and nothing at all (wire reference, core §1.4). fault.Invalid if it is not
// JSON in UTF-8 with unique names, or breaks a bound. Its texts say where and
// never repeat what stands there.
func read(body []byte, known map[string]look) (*document, error) {
	d := &document{nodes: make([]node, root+1, 40), nodesMax: nodesMax}
	if known[PayoutList] == list {
		d.nodesMax = listNodesMax
	}
	d.nodes[root].kind = jsontext.KindBeginObject
	if len(bytes.Trim(body, " \t\r\n")) == 0 {
		return d, nil
	}
	r := reader{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body)), body: body, known: known, document: d}
	err := r.top()
	if err == nil {
		err = r.end()
	}
	return d, refusal(err)
}

// refusal says in our own words what the decoder did not like.
func refusal(err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.Invalid, "body: ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fault.New(fault.Invalid, "body: a name is repeated at byte %d", syntax.ByteOffset)
	}
	return fault.New(fault.Invalid, "body: not valid JSON in UTF-8 at byte %d", syntax.ByteOffset)
}

// reader fills a document from the tokens of its body.
type reader struct {
	*jsontext.Decoder
	*document
	body  []byte
	known map[string]look
}

// top reads the outermost value.
func (r *reader) top() error {
	t, err := r.ReadToken()
	if err != nil {
		return err
	}
	switch t.Kind() {
	case jsontext.KindBeginArray:
		if r.PeekKind() == jsontext.KindEndArray {
			_, err = r.ReadToken()
			return err
		}
	case jsontext.KindBeginObject:
		return r.members(root)
	}
	return fault.New(fault.Invalid, "body: must be a JSON object")
}

// members reads those of the body, or of an object that is like it, and its end.
func (r *reader) members(of ref) error {
	for r.PeekKind() != jsontext.KindEndObject {
		name, err := r.name()
		if err != nil {
			return err
		}
		switch r.known[string(name)] {
		case inside:
			err = r.value(of, name)
		case whole:
			err = r.whole(of, name)
		case list:
			err = r.list(of, name)
		default:
			_, err = r.skip()
		}
		if err != nil {
			return err
		}
	}
	_, err := r.ReadToken()
	return err
}

// list reads an array of objects that are like the body. What is not one is read
// as any value.
func (r *reader) list(parent ref, name []byte) error {
	if parent != root || r.PeekKind() != jsontext.KindBeginArray {
		return r.value(parent, name)
	}
	if err := r.open(); err != nil {
		return err
	}
	at, err := r.add(parent, node{kind: jsontext.KindBeginArray, name: name})
	if err != nil {
		return err
	}
	for r.PeekKind() != jsontext.KindEndArray {
		if err := r.item(at); err != nil {
			return err
		}
	}
	_, err = r.ReadToken()
	return err
}

// item reads an element of a list. A null has a node here: the elements are
// counted.
func (r *reader) item(parent ref) error {
	switch kind := r.PeekKind(); kind {
	case jsontext.KindBeginObject:
	case jsontext.KindNull:
		if _, err := r.scalar(); err != nil {
			return err
		}
		_, err := r.add(parent, node{kind: kind})
		return err
	default:
		return r.value(parent, nil)
	}
	if err := r.open(); err != nil {
		return err
	}
	at, err := r.add(parent, node{kind: jsontext.KindBeginObject})
	if err != nil {
		return err
	}
	return r.members(at)
}

// end makes sure that nothing follows.
func (r *reader) end() error {
	switch _, err := r.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fault.New(fault.Invalid, "body: goes on after its end")
}

// name reads the name of a member.
func (r *reader) name() ([]byte, error) {
	quoted, err := r.scalar()
	if err != nil {
		return nil, err
	}
	return unquote(quoted), nil
}

// scalar reads a string, number or literal; what it returns is a part of the body.
func (r *reader) scalar() ([]byte, error) {
	v, err := r.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(r.InputOffset())
	return r.body[end-len(v) : end], nil
}

// value reads a value with all that is in it.
func (r *reader) value(parent ref, name []byte) error {
	kind := r.PeekKind()
	switch kind {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
	default:
		raw, err := r.scalar()
		if err != nil || kind == jsontext.KindNull {
			return err
		}
		_, err = r.add(parent, node{kind: kind, name: name, raw: raw})
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	at, err := r.add(parent, node{kind: kind, name: name})
	if err != nil {
		return err
	}
	for {
		var name []byte
		switch next := r.PeekKind(); {
		case next == jsontext.KindEndObject, next == jsontext.KindEndArray:
			_, err = r.ReadToken()
			return err
		case kind == jsontext.KindBeginObject:
			if name, err = r.name(); err != nil {
				return err
			}
		}
		if err := r.value(at, name); err != nil {
			return err
		}
	}
}

// open reads the beginning of an object or array, unless that is too deep.
func (r *reader) open() error {
	if _, err := r.ReadToken(); err != nil {
		return err
	}
	if r.StackDepth() > depthMax {
		return fault.New(fault.Invalid, "body: nested deeper than %d", depthMax)
	}
	return nil
}

// whole reads a value without looking into it.
func (r *reader) whole(parent ref, name []byte) error {
	kind := r.PeekKind()
	raw, err := r.skip()
	if err != nil || kind == jsontext.KindNull {
		return err
	}
	_, err = r.add(parent, node{kind: kind, name: name, raw: raw})
	return err
}

// skip reads a value and returns it as it was sent.
func (r *reader) skip() ([]byte, error) {
	switch r.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
	default:
		return r.scalar()
	}
	depth := r.StackDepth()
	if err := r.open(); err != nil {
		return nil, err
	}
	start := r.InputOffset() - 1
	for r.StackDepth() > depth {
		var err error
		switch r.PeekKind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			err = r.open()
		default:
			_, err = r.ReadToken()
		}
		if err != nil {
			return nil, err
		}
	}
	return r.body[start:r.InputOffset()], nil
}

// add puts a node behind its siblings.
func (d *document) add(parent ref, n node) (ref, error) {
	at := ref(len(d.nodes)) // #nosec G115 -- at most nodesMax and one
	if int(at) > d.nodesMax {
		return absent, fault.New(fault.Invalid, "body: more than %d members", d.nodesMax)
	}
	n.parent = parent
	d.nodes = append(d.nodes, n)
	p := &d.nodes[parent]
	if p.first == absent {
		p.first = at
	} else {
		d.nodes[p.last].next = at
	}
	p.last = at
	return at, nil
}

// unquote returns what a JSON string says; without escapes, that is a part of it.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	s, _ := jsontext.AppendUnquote(nil, quoted) // the decoder has let it pass
	return s
}

// member finds a member of an object; absent if there is none, or no object.
func (d *document) member(of ref, name string) ref {
	if of == absent || d.nodes[of].kind != jsontext.KindBeginObject {
		return absent
	}
	for at := d.nodes[of].first; at != absent; at = d.nodes[at].next {
		if string(d.nodes[at].name) == name {
			return at
		}
	}
	return absent
}

// object refuses what is neither an object nor the [] that stands for an empty one.
func (d *document) object(at ref) bool {
	n := &d.nodes[at]
	if n.kind == jsontext.KindBeginObject || n.kind == jsontext.KindBeginArray && n.first == absent {
		return true
	}
	d.refuse(at, mustBeObject)
	return false
}

// path is where a node stands, in the partner's words: customer.contacts[0].email.
func (d *document) path(at ref) string {
	n := &d.nodes[at]
	switch {
	case at == root:
		return "body"
	case n.parent == root:
		return string(n.name)
	case d.nodes[n.parent].kind == jsontext.KindBeginArray:
		i := 0
		for e := d.nodes[n.parent].first; e != at; e = d.nodes[e].next {
			i++
		}
		return d.path(n.parent) + "[" + strconv.Itoa(i) + "]"
	}
	return d.path(n.parent) + "." + string(n.name)
}

// refuse notes what is wrong with a value.
func (d *document) refuse(at ref, reason string) { d.violate(d.path(at), reason) }

// missing notes a member that an object lacks.
func (d *document) missing(of ref, name string) { d.violate(d.under(of, name), isRequired) }

// under is the path of a member of an object, whether it is there or not.
func (d *document) under(of ref, name string) string {
	if of == root {
		return name
	}
	return d.path(of) + "." + name
}

func (d *document) violate(path, reason string) {
	if len(d.violations) == violationsMax {
		d.more++
		return
	}
	d.violations = append(d.violations, path+": "+reason)
}

// violated reports whether a member was found wrong already.
func (d *document) violated(path string) bool {
	return slices.ContainsFunc(d.violations, func(v string) bool { return strings.HasPrefix(v, path+": ") })
}

// err is all violations in one; nil if there is none.
func (d *document) err() error {
	if len(d.violations) == 0 {
		return nil
	}
	text := strings.Join(d.violations, "; ")
	if d.more > 0 {
		text += fmt.Sprintf("; and %d more", d.more)
	}
	return fault.New(fault.Invalid, "%s", text)
}

// echo is a value as it was sent, compact, without nulls and without empty
// objects and arrays; nil if nothing is left. The published PHP SDK misreads a
// null (wire reference, core §1.5).
func (d *document) echo(at ref) []byte {
	b := d.render(make([]byte, 0, 256), at)
	if len(b) == len("{}") {
		return nil
	}
	return b
}

// render appends an object or array; an empty one is two bytes, as no other is.
func (d *document) render(b []byte, at ref) []byte {
	open, shut := byte('{'), byte('}')
	if d.nodes[at].kind == jsontext.KindBeginArray {
		open, shut = '[', ']'
	}
	b = append(b, open)
	for at := d.nodes[at].first; at != absent; at = d.nodes[at].next {
		n, start := &d.nodes[at], len(b)
		if b[start-1] != open {
			b = append(b, ',')
		}
		if open == '{' {
			b = append(appendText(b, n.name), ':')
		}
		if n.raw != nil {
			b = append(b, n.raw...)
			continue
		}
		value := len(b)
		if b = d.render(b, at); len(b) == value+len("{}") {
			b = b[:start]
		}
	}
	return append(b, shut)
}
