package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// all stands for every room.
const all = "*"

// mayImport says for each room which others its code may import: what stands
// below it, never a neighbour. A package that is not here has no place yet; find
// it one. Tests are not bound by it: they use real parts, wherever those stand.
var mayImport = map[string][]string{
	// What others may build on. Package instrument names cards by internal/id,
	// the one room below it.
	"money":          {},
	"sign":           {},
	"client":         {"sign", "money"},
	"instrument":     {"internal/id"},
	"rail":           {"instrument", "money"},
	"rail/railtest":  {"rail", "instrument", "money"},
	"rail/statement": {"money"},
	"tax":            {"money"},
	"tax/taxtest":    {"money", "tax"},

	// The vocabulary.
	"internal/id":    {},
	"internal/clock": {},
	"internal/fault": {},
	"internal/limit": {},

	// The rules of the trade, without a database or a network among them.
	"internal/rate":     {"money"},
	"internal/partner":  {"instrument", "internal/id", "internal/rate", "money"},
	"internal/session":  {"instrument", "internal/fault", "internal/id", "internal/rate", "money", "tax"},
	"internal/ledger":   {"internal/id", "money"},
	"internal/vault":    {"instrument", "internal/fault", "internal/id"},
	"internal/webhook":  {"internal/fault", "internal/id"},
	"internal/operator": {"internal/fault", "internal/id"},

	// The database: what the program needs of it, and the engines.
	"internal/store":                 contract,
	"internal/store/codec":           form,
	"internal/store/storetest":       engine,
	"internal/store/sqlite":          engine,
	"internal/store/postgres":        engine,
	"internal/store/postgres/pgtest": {},

	// JSON stands below the engine of payouts, which writes the body of a
	// webhook in the transaction that promises it.
	"internal/wire": {"instrument", "internal/fault", "internal/id", "internal/partner", "internal/rate", "internal/session", "internal/vault", "money", "tax"},
	"internal/payout": {
		"instrument", "internal/fault", "internal/id", "internal/ledger", "internal/partner", "internal/rate", "internal/session",
		"internal/store", "internal/vault", "internal/webhook", "internal/wire", "money", "rail", "rail/statement", "sign", "tax",
	},

	// What people read of all that.
	"internal/report": {
		"instrument", "internal/fault", "internal/id", "internal/ledger", "internal/partner", "internal/session", "internal/store", "internal/vault", "money",
	},

	// The doors.
	"internal/api":    {"instrument", "internal/fault", "internal/id", "internal/limit", "internal/partner", "internal/payout", "internal/session", "internal/wire", "sign"},
	"internal/widget": {"instrument", "internal/fault", "internal/limit", "internal/partner"},
	"internal/console": {
		"instrument", "internal/fault", "internal/id", "internal/ledger", "internal/limit", "internal/operator", "internal/partner", "internal/report",
		"internal/session", "internal/store", "internal/webhook", "money",
	},
	"internal/admin": {
		"instrument", "internal/fault", "internal/id", "internal/ledger", "internal/operator", "internal/partner", "internal/payout", "internal/rate",
		"internal/report", "internal/session", "internal/store", "internal/vault", "internal/webhook", "internal/wire", "money", "rail", "rail/statement", "sign", "tax",
	},

	// The load benchmark: it fills the books of an installation and proves them,
	// and speaks to a server as a partner does.
	"internal/bench": {
		"instrument", "internal/fault", "internal/id", "internal/ledger", "internal/partner", "internal/payout", "internal/session",
		"internal/store", "internal/vault", "internal/webhook", "internal/wire", "money", "sign",
	},

	// An installation that moves from one database to another.
	"internal/relocate": {"internal/fault", "internal/id", "internal/ledger", "internal/payout", "internal/store"},

	// A partner in small: it knows payoutd from outside.
	"internal/shop": {"internal/fault", "sign"},

	// The world outside, simulated: it knows nothing of what asks it.
	"internal/sandbox": {"instrument", "internal/fault", "internal/id", "internal/rate", "money", "rail", "rail/statement", "sign", "tax"},

	// Tests alone: a world around the whole engine, and what tests of the engine
	// and of real processes share.
	"internal/simulation": {},
	"internal/history":    {},
	"internal/hostile":    {},

	// Only the binary chooses engines, connectors and settings.
	"cmd/payoutd": {all},

	// These drive the binary from outside, as a partner does.
	"e2e":         {"client", "money", "sign"},
	"e2e/browser": {},

	"internal/arch": {},
}

var (
	contract = []string{
		"internal/fault", "internal/id", "internal/ledger", "internal/operator", "internal/partner", "internal/rate", "internal/session",
		"internal/vault", "internal/webhook", "money", "tax",
	}
	form   = append([]string{"internal/store", "instrument"}, contract...)
	engine = append([]string{"internal/store/codec"}, form...)
)

// mayUse says for each module that is not ours which rooms' code may import it.
// Tests may import any of them and nothing else. Why each is worth having stands
// in docs/adr.
var mayUse = map[string][]string{
	"code.dny.dev/ssrf":                   {"internal/webhook"},
	"github.com/anishathalye/porcupine":   {"internal/history"},
	"github.com/alecthomas/kong":          {"cmd/payoutd"},
	"github.com/go-json-experiment/json":  {"internal/store/codec", "internal/wire"},
	"github.com/jackc/pgx/v5":             {"internal/store/postgres", "internal/store/postgres/pgtest"},
	"github.com/mattn/go-isatty":          {"cmd/payoutd"},
	"github.com/pressly/goose/v3":         {"internal/store/postgres", "internal/store/sqlite"},
	"github.com/prometheus/client_golang": {"cmd/payoutd", "internal/admin", "internal/api", "internal/payout", "internal/widget"},
	"github.com/rogpeppe/go-internal":     {},
	"github.com/tink-crypto/tink-go/v2":   {"internal/vault"},
	"go.uber.org/goleak":                  {"internal/store/storetest", "rail/railtest"},
	"golang.org/x/crypto":                 {"internal/operator"},
	"golang.org/x/sys":                    {"internal/clock"},
	"golang.org/x/text":                   {"internal/rate"},
	"golang.org/x/time":                   {"internal/console", "internal/limit"},
	"modernc.org/sqlite":                  {"internal/sandbox", "internal/store/sqlite"},
	"pgregory.net/rapid":                  {"internal/store/storetest", "rail/railtest"},
	"rsc.io/qr":                           {"internal/sandbox"},
}

// imports is the rule of mayImport and mayUse.
func imports(s *source) []string {
	allowed, placed := mayImport[s.room()]
	if !placed {
		return []string{fmt.Sprintf("%s: package %q has no place in mayImport", s.path, s.room())}
	}
	var breaches []string
	for _, p := range s.imports() {
		first, _, _ := strings.Cut(p, "/")
		room, ours := strings.CutPrefix(p, module+"/")
		switch {
		case ours:
			_, known := mayImport[room]
			if !known || !s.test() && !slices.Contains(allowed, room) && !slices.Contains(allowed, all) {
				breaches = append(breaches, fmt.Sprintf("%s: %s may not import %s", s.path, s.room(), room))
			}
		case strings.Contains(first, "."): // the standard library has no dot there
			rooms, known := mayUse[dependency(p)]
			if !known || !s.test() && !slices.Contains(rooms, s.room()) {
				breaches = append(breaches, fmt.Sprintf("%s: %s may not use %s", s.path, s.room(), p))
			}
		}
	}
	return breaches
}

// dependency is the module of mayUse that has the package, "" for none.
func dependency(pkg string) string {
	for m := range mayUse {
		if pkg == m || strings.HasPrefix(pkg, m+"/") {
			return m
		}
	}
	return ""
}

func TestImportsPointOneWay(t *testing.T) {
	wantNone(t, imports)
}

func TestImportsRuleFinds(t *testing.T) {
	const ours = module + "/"
	wantFound(t, imports, []planted{
		{"downwards", "internal/payout/x.go", `package payout; import _ "` + ours + `internal/store"`, ""},
		{"upwards", "internal/store/x.go", `package store; import _ "` + ours + `internal/payout"`, "may not import internal/payout"},
		{"a neighbour", "internal/ledger/x.go", `package ledger; import _ "` + ours + `internal/session"`, "may not import internal/session"},
		{"an engine, outside cmd", "internal/payout/x.go", `package payout; import _ "` + ours + `internal/store/sqlite"`, "may not import internal/store/sqlite"},
		{"an engine, in cmd", "cmd/payoutd/x.go", `package main; import _ "` + ours + `internal/store/sqlite"`, ""},
		{"an engine, in a test", "internal/payout/x_test.go", `package payout; import _ "` + ours + `internal/store/sqlite"`, ""},
		{"an inner room from a public one", "client/x.go", `package client; import _ "` + ours + `internal/id"`, "may not import internal/id"},
		{"a package without a place", "internal/util/x.go", `package util`, "has no place"},
		{"a test without a place", "internal/util/x_test.go", `package util`, "has no place"},
		{"import of a package without a place", "cmd/payoutd/x_test.go", `package main; import _ "` + ours + `internal/util"`, "may not import internal/util"},
		{"standard library", "money/x.go", `package money; import _ "net/http"`, ""},
		{"dependency where it belongs", "internal/vault/x.go", `package vault; import _ "github.com/tink-crypto/tink-go/v2/aead"`, ""},
		{"dependency elsewhere", "internal/payout/x.go", `package payout; import _ "github.com/tink-crypto/tink-go/v2/aead"`, "may not use"},
		{"dependency of tests in a test", "money/x_test.go", `package money; import _ "pgregory.net/rapid"`, ""},
		{"dependency of tests in code", "money/x.go", `package money; import _ "pgregory.net/rapid"`, "may not use"},
		{"dependency that nobody argued for", "money/x_test.go", `package money; import _ "example.org/assert"`, "may not use"},
		{"module whose name begins alike", "internal/vault/x.go", `package vault; import _ "github.com/tink-crypto/tink-go/v20"`, "may not use"},
	})
}

func TestRoomsAreNamedRight(t *testing.T) {
	for room, allowed := range mayImport {
		for _, below := range allowed {
			if _, ok := mayImport[below]; !ok && below != all {
				t.Errorf("%s may import %s, which is no room", room, below)
			}
		}
	}
	for m, rooms := range mayUse {
		for _, room := range rooms {
			if _, ok := mayImport[room]; !ok {
				t.Errorf("%s may be used by %s, which is no room", m, room)
			}
		}
	}
}

func TestDependenciesAreArguedFor(t *testing.T) {
	records, err := filepath.Glob(root + "/docs/adr/[0-9]*.md")
	if err != nil || len(records) == 0 {
		t.Fatalf("no decisions found: %v", err)
	}
	var decisions strings.Builder
	for _, name := range records {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		decisions.Write(text)
	}
	for m := range mayUse {
		if !strings.Contains(decisions.String(), "`"+m+"`") {
			t.Errorf("no decision in docs/adr says why the program depends on %s", m)
		}
	}
}
