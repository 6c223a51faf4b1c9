package admin

import (
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/operator"
)

func TestOperators(t *testing.T) {
	h, _, s := newDeskOn(t)
	p := place(t, h)
	p.Operator = "root"
	c := connect(t, p)
	made, err := c.AddOperator(t.Context(), OperatorRequest{Name: "anna", Role: "viewer"})
	if err != nil || made.Password == "" || made.Role != "viewer" {
		t.Fatalf("%+v, %v", made, err)
	}
	is := func(password string, role operator.Role) {
		t.Helper()
		o, err := s.Operator(t.Context(), "anna")
		if err != nil || !operator.Check(&o, password) || o.Role != role {
			t.Errorf("%+v, %v; want role %s and password %s", o, err, role, password)
		}
	}
	is(made.Password, operator.Viewer)
	if o, err := c.SetOperator(t.Context(), OperatorRequest{Name: "anna", Role: "accountant"}); err != nil || o.Password != "" {
		t.Errorf("%+v, %v", o, err)
	}
	is(made.Password, operator.Accountant)
	if o, err := c.SetOperator(t.Context(), OperatorRequest{Name: "anna", Password: "correct horse battery"}); err != nil || o.Password != "" {
		t.Errorf("%+v, %v", o, err)
	}
	is("correct horse battery", operator.Accountant)
	renewed, err := c.SetOperator(t.Context(), OperatorRequest{Name: "anna", Renew: true})
	if err != nil || renewed.Password == "" || renewed.Password == made.Password {
		t.Errorf("%+v, %v", renewed, err)
	}
	is(renewed.Password, operator.Accountant)

	for name, test := range map[string]struct {
		err  error
		code fault.Code
		text string
	}{
		"a name that is taken": {second(c.AddOperator(t.Context(), OperatorRequest{Name: "anna", Role: "admin"})), fault.Invalid, "exists"},
		"no name":              {second(c.AddOperator(t.Context(), OperatorRequest{Role: "admin"})), fault.Invalid, "name"},
		"a name with blanks":   {second(c.AddOperator(t.Context(), OperatorRequest{Name: "a b", Role: "admin"})), fault.Invalid, "name"},
		"no role":              {second(c.AddOperator(t.Context(), OperatorRequest{Name: "boris"})), fault.Invalid, "role"},
		"an unknown role":      {second(c.SetOperator(t.Context(), OperatorRequest{Name: "anna", Role: "root"})), fault.Invalid, "role"},
		"a short password":     {second(c.SetOperator(t.Context(), OperatorRequest{Name: "anna", Password: "short"})), fault.Invalid, "password"},
		"a change of nobody":   {second(c.SetOperator(t.Context(), OperatorRequest{Name: "boris", Role: "admin"})), fault.NotFound, "boris"},
		"a removal of nobody":  {c.RemoveOperator(t.Context(), "boris"), fault.NotFound, "boris"},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, test.err, test.code, test.text) })
	}
	is(renewed.Password, operator.Accountant)
	if all, err := c.Operators(t.Context()); err != nil || len(all) != 1 || all[0].Name != "anna" || all[0].Password != "" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := c.RemoveOperator(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	acts, err := s.Audit(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var what []string
	for _, a := range acts {
		if a.Subject == "anna" && a.Actor == "root" {
			what = append(what, a.What+" "+a.Text)
		}
		if strings.Contains(a.Text, "horse") || strings.Contains(a.Text, made.Password) {
			t.Errorf("the audit has a password: %+v", a)
		}
	}
	want := "operator_remove |operator_set accountant, new password|operator_set accountant, new password|operator_set accountant|operator_add viewer"
	if got := strings.Join(what, "|"); got != want {
		t.Errorf("acts %q, want %q", got, want)
	}
}

func second[T any](_ T, err error) error { return err }
