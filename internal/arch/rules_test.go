package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// clocks are the files that read the wall clock because that is what they are
// for, each with its reason.
var clocks = map[string]string{
	"internal/bench/clock.go":   "what a benchmark measures is real time",
	"internal/sandbox/clock.go": "the clock that tests of a partner can move is real time plus an offset",
}

// suites are tests, though their files are not named so: each engine and each
// connector runs them, or, as pgtest, is run on them.
var suites = []string{"internal/store/postgres/pgtest", "internal/store/storetest", "rail/railtest", "tax/taxtest"}

// wallClock is the rule that code is told the time: outside cmd, tests and the
// clocks, time.Now may stand as a default value but not be called, and neither
// may time.Since and time.Until, which call it.
func wallClock(s *source) []string {
	if _, ok := clocks[s.path]; ok || s.test() || s.in("cmd", "e2e") || s.in(suites...) {
		return nil
	}
	called := map[ast.Expr]bool{}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			called[call.Fun] = true
		}
		return true
	})
	var breaches []string
	for _, sel := range s.selected("time", "Now", "Since", "Until") {
		if sel.Sel.Name != "Now" || called[sel] {
			breaches = append(breaches, fmt.Sprintf("%s: time.%s reads the wall clock; take the time as an argument or from a Now field", s.at(sel), sel.Sel.Name))
		}
	}
	return breaches
}

// environment is the rule that only cmd reads the environment, beside tests.
func environment(s *source) []string {
	if s.test() || s.in("cmd") || s.in(suites...) {
		return nil
	}
	var breaches []string
	for _, pkg := range []string{"os", "syscall"} {
		for _, sel := range s.selected(pkg, "Getenv", "LookupEnv", "Environ", "ExpandEnv") {
			breaches = append(breaches, fmt.Sprintf("%s: %s.%s reads the environment, which is for cmd to do", s.at(sel), pkg, sel.Sel.Name))
		}
	}
	return breaches
}

// exact are the rooms that count money, or carry it.
var exact = []string{
	"money", "client", "instrument", "rail", "tax", "internal/admin", "internal/console", "internal/ledger", "internal/partner",
	"internal/payout", "internal/rate", "internal/relocate", "internal/report", "internal/sandbox", "internal/session", "internal/store",
	"internal/wire",
}

// inexact are the files in those rooms that have other numbers, each with how
// often it names a type or a value of floating point, and why.
var inexact = map[string]struct {
	times int
	why   string
}{
	"internal/console/login.go":    {1, "tokens of a rate limit"},
	"internal/payout/command.go":   {1, "jitter"},
	"internal/payout/deliver.go":   {2, "jitter"},
	"internal/payout/engine.go":    {1, "jitter"},
	"internal/payout/metrics.go":   {3, "what Prometheus counts with"},
	"internal/wire/information.go": {2, "whether two JSON numbers below 2^53 are the same one"},
}

// floats is the rule that money is never a floating-point number.
func floats(s *source) []string {
	if s.test() || !s.in(exact...) {
		return nil
	}
	var breaches []string
	refuse := func(n ast.Node, what string) {
		breaches = append(breaches, fmt.Sprintf("%s: %s has no place where money is counted", s.at(n), what))
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if slices.Contains([]string{"float32", "float64", "complex64", "complex128"}, n.Name) {
				refuse(n, n.Name)
			}
		case *ast.BasicLit:
			if n.Kind == token.FLOAT {
				refuse(n, n.Value)
			}
		}
		return true
	})
	for _, sel := range s.selected("strconv", "ParseFloat", "FormatFloat", "AppendFloat") {
		refuse(sel, "strconv."+sel.Sel.Name)
	}
	if known := inexact[s.path]; known.times == len(breaches) {
		return nil
	}
	return breaches
}

// dots is the rule without which the others would miss what they look for: no
// package is imported into a file's own names.
func dots(s *source) []string {
	var breaches []string
	for _, spec := range s.ast.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			breaches = append(breaches, fmt.Sprintf("%s: %s is imported with a dot", s.at(spec), importPath(spec)))
		}
	}
	return breaches
}

func TestOnlyClocksReadTheClock(t *testing.T)         { wantNone(t, wallClock) }
func TestOnlyCommandsReadTheEnvironment(t *testing.T) { wantNone(t, environment) }
func TestMoneyIsNoFloat(t *testing.T)                 { wantNone(t, floats) }
func TestPackagesAreImportedUnderAName(t *testing.T)  { wantNone(t, dots) }

func TestWallClockRuleFinds(t *testing.T) {
	wantFound(t, wallClock, []planted{
		{"call", "internal/payout/x.go", `package payout; import "time"; var x = time.Now()`, "x.go:1: time.Now"},
		{"call under another name", "internal/payout/x.go", `package payout; import clock "time"; var x = clock.Now()`, "time.Now"},
		{"since", "internal/payout/x.go", `package payout; import "time"; func f(t time.Time) any { return time.Since(t) }`, "time.Since"},
		{"until", "internal/payout/x.go", `package payout; import "time"; func f(t time.Time) any { return time.Until(t) }`, "time.Until"},
		{"since as a value", "internal/payout/x.go", `package payout; import "time"; var x = time.Since`, "time.Since"},
		{"default value", "internal/payout/x.go", `package payout; import "time"; var now = time.Now`, ""},
		{"a variable of that name", "internal/payout/x.go", `package payout; import _ "time"; func f(time interface{ Now() int }) int { return time.Now() }`, ""},
		{"a method of that name", "internal/payout/x.go", `package payout; func f(e interface{ Now() int }) int { return e.Now() }`, ""},
		{"command", "cmd/payoutd/x.go", `package main; import "time"; var x = time.Now()`, ""},
		{"test", "internal/payout/x_test.go", `package payout; import "time"; var x = time.Now()`, ""},
		{"suite of tests", "rail/railtest/x.go", `package railtest; import "time"; var x = time.Now()`, ""},
		{"clock", "internal/sandbox/clock.go", `package sandbox; import "time"; var x = time.Now()`, ""},
		{"beside the clock", "internal/sandbox/world.go", `package sandbox; import "time"; var x = time.Now()`, "time.Now"},
	})
}

func TestEnvironmentRuleFinds(t *testing.T) {
	wantFound(t, environment, []planted{
		{"one variable", "internal/vault/x.go", `package vault; import "os"; var x = os.Getenv("KEY")`, "os.Getenv"},
		{"perhaps one", "internal/vault/x.go", `package vault; import "os"; var x, ok = os.LookupEnv("KEY")`, "os.LookupEnv"},
		{"all of it", "internal/vault/x.go", `package vault; import "os"; var x = os.Environ()`, "os.Environ"},
		{"beneath os", "internal/vault/x.go", `package vault; import "syscall"; var x, ok = syscall.Getenv("KEY")`, "syscall.Getenv"},
		{"another use of os", "internal/vault/x.go", `package vault; import "os"; var x = os.Getpid()`, ""},
		{"command", "cmd/payoutd/x.go", `package main; import "os"; var x = os.Getenv("KEY")`, ""},
		{"test", "e2e/x_test.go", `package e2e; import "os"; var x = os.Getenv("KILLS")`, ""},
		{"suite of tests", "rail/railtest/x.go", `package railtest; import "os"; var x = os.Getenv("RAIL")`, ""},
	})
}

func TestFloatRuleFinds(t *testing.T) {
	wantFound(t, floats, []planted{
		{"type", "money/x.go", `package money; type Rate float64`, "float64"},
		{"small type", "internal/ledger/x.go", `package ledger; var x float32`, "float32"},
		{"complex type", "internal/ledger/x.go", `package ledger; var x complex128`, "complex128"},
		{"literal", "internal/partner/x.go", `package partner; var x = 1e2`, "1e2"},
		{"parsed", "internal/session/x.go", `package session; import "strconv"; var x, _ = strconv.ParseFloat("1", 64)`, "strconv.ParseFloat"},
		{"integer", "money/x.go", `package money; var x int64 = 100`, ""},
		{"below a room", "internal/store/sqlite/x.go", `package sqlite; var x float64`, "float64"},
		{"a known one", "internal/payout/engine.go", `package payout; var jitter float64`, ""},
		{"an unknown one beside a known one", "internal/wire/information.go", `package wire; import "strconv"; var x, _ = strconv.ParseFloat("1", 64)`, "strconv.ParseFloat"},
		{"a known one that is gone", "internal/payout/engine.go", `package payout`, ""},
		{"where no money is counted", "internal/webhook/x.go", `package webhook; var jitter float64`, ""},
	})
}

func TestDotRuleFinds(t *testing.T) {
	wantFound(t, dots, []planted{
		{"dot", "money/x.go", `package money; import . "time"`, "time is imported with a dot"},
		{"dot in a test", "money/x_test.go", `package money; import . "time"`, "time is imported with a dot"},
		{"name", "money/x.go", `package money; import clock "time"`, ""},
		{"blank", "internal/store/sqlite/x.go", `package sqlite; import _ "modernc.org/sqlite"`, ""},
	})
}
