package fault_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/rail"
)

// declared reads the codes from the source, so that none is forgotten here.
func declared(t *testing.T) []fault.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []fault.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Code" {
			return true
		}
		for _, value := range spec.Values {
			s, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, fault.Code(s))
		}
		return true
	})
	if len(codes) < 15 {
		t.Fatalf("found only %d codes in fault.go", len(codes))
	}
	return codes
}

func TestEveryCodeHasARow(t *testing.T) {
	codes := declared(t)
	for _, c := range rail.Codes {
		codes = append(codes, fault.Code(c))
	}
	for _, c := range codes {
		if !fault.Known(c) {
			t.Errorf("%s has no row", c)
		}
	}
}

// own are the codes that no partner may see.
var own = map[fault.Code]bool{
	fault.Busy: true, fault.NotFound: true, fault.NoRoute: true, fault.BadVerb: true, fault.TooLarge: true, fault.Stale: true,
	fault.TokenExpired: true, fault.TokenUsed: true, fault.TooMany: true, fault.Throttled: true, fault.Restoring: true,
}

func TestRows(t *testing.T) {
	for _, c := range fault.Codes() {
		t.Run(string(c), func(t *testing.T) {
			row := fault.Lookup(c)
			if row.Text == "" || strings.ToLower(row.Text[:1]) != row.Text[:1] || strings.HasSuffix(row.Text, ".") {
				t.Errorf("text %q", row.Text)
			}
			if row.HTTP != 0 && (row.HTTP < 400 || row.HTTP > 599) {
				t.Errorf("HTTP %d: clients take anything below 400 for success", row.HTTP)
			}
			if own[row.Wire] || fault.Lookup(row.Wire).Wire != row.Wire {
				t.Errorf("a partner would see %q", row.Wire)
			}
			if (row.Wire != c) != own[c] {
				t.Errorf("it is shown as %q", row.Wire)
			}
			if row.HTTP == 0 && own[c] {
				t.Error("no HTTP status")
			}
		})
	}
}

// What a rail says of a payment is an operation's error, never a request's.
func TestRailCodesAreOfOperations(t *testing.T) {
	for _, c := range rail.Codes {
		if row := fault.Lookup(fault.Code(c)); row.HTTP != 0 {
			t.Errorf("%s: HTTP %d", c, row.HTTP)
		}
	}
}

// The statuses that the reference fixes (core §1.5).
func TestHTTP(t *testing.T) {
	for c, want := range map[fault.Code]int{
		fault.Unidentified: 401, fault.Unauthenticated: 401, fault.Unauthorized: 403, fault.Invalid: 400,
		fault.KeyExists: 400, fault.WrongState: 400, fault.Internal: 500, fault.NotFound: 400, fault.NoRoute: 404,
		fault.Busy: 503, fault.Restoring: 503,
	} {
		if got := fault.Lookup(c).HTTP; got != want {
			t.Errorf("%s: %d, want %d", c, got, want)
		}
	}
}

func TestUnknownCodeIsInternal(t *testing.T) {
	if fault.Known("no_such_code") {
		t.Error("it is known")
	}
	if got := fault.Lookup("no_such_code"); got != fault.Lookup(fault.Internal) {
		t.Errorf("%+v", got)
	}
}

func TestCodeOf(t *testing.T) {
	refusal := fault.New(fault.WrongState, "session %s does not await confirmation", "ps_1")
	for _, tt := range []struct {
		name string
		err  error
		want fault.Code
	}{
		{"itself", refusal, fault.WrongState},
		{"wrapped", fmt.Errorf("confirm: %w", fmt.Errorf("commit: %w", refusal)), fault.WrongState},
		{"joined", errors.Join(io.EOF, refusal), fault.WrongState},
		{"the outer one counts", fault.Wrap(fault.Busy, refusal, "later"), fault.Busy},
		{"another error", io.EOF, fault.Internal},
		{"none", nil, fault.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.CodeOf(tt.err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// The cause is for the log: it stands in Error, can be found, and is not in Text.
func TestWrap(t *testing.T) {
	err := fault.Wrap(fault.Internal, io.ErrUnexpectedEOF, "%d rows", 3)
	if err.Text != "3 rows" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("text %q, cause %v", err.Text, err.Cause)
	}
	if got := err.Error(); got != "internal_error: 3 rows: unexpected EOF" {
		t.Errorf("%q", got)
	}
	if got := fault.New(fault.Invalid, "no").Error(); got != "invalid_request: no" {
		t.Errorf("%q", got)
	}
}
