package admin

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/operator"
)

// OperatorRequest adds or changes somebody who may log in to the console.
type OperatorRequest struct {
	Name     string `json:"name"`
	Role     string `json:"role,omitempty"`     // of operator.Roles; "" in a change leaves it
	Password string `json:"password,omitempty"` // "" makes one up, or in a change leaves it
	// Renew makes a password up in a change.
	Renew bool   `json:"renew,omitempty"`
	Actor string `json:"actor"`
}

// Operator is one operator as others see him.
type Operator struct {
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	// Password is the one that was made up, to be shown once.
	Password string `json:"password,omitempty"`
}

func showOperator(o operator.Operator) Operator {
	return Operator{Name: o.Name, Role: string(o.Role), CreatedAt: o.CreatedAt}
}

func (d *desk) listOperators(ctx context.Context, _ nothing) ([]Operator, error) {
	all, err := d.store.Operators(ctx)
	if err != nil {
		return nil, err
	}
	shown := []Operator{}
	for _, o := range all {
		shown = append(shown, showOperator(o))
	}
	return shown, nil
}

// put puts a role and a password into o, and tells the password that it made up.
func (in *OperatorRequest) put(o *operator.Operator, renew bool) (made string, err error) {
	if in.Role != "" {
		if o.Role, err = operator.ParseRole(in.Role); err != nil {
			return "", err
		}
	}
	switch {
	case in.Password != "":
		if err := operator.CheckPassword(in.Password); err != nil {
			return "", err
		}
		o.Password = operator.Hash(in.Password)
	case renew:
		made = operator.NewPassword()
		o.Password = operator.Hash(made)
	}
	return made, nil
}

// addOperator writes the act down first: nobody is added unseen.
func (d *desk) addOperator(ctx context.Context, in OperatorRequest) (Operator, error) {
	name, err := operator.ParseName(in.Name)
	if err != nil {
		return Operator{}, err
	}
	if _, err := operator.ParseRole(in.Role); err != nil {
		return Operator{}, err
	}
	switch _, err := d.store.Operator(ctx, name); {
	case err == nil:
		return Operator{}, fault.New(fault.Invalid, "the operator %s exists", name)
	case fault.CodeOf(err) != fault.NotFound:
		return Operator{}, err
	}
	o := operator.Operator{Name: name, CreatedAt: d.now().UTC().Truncate(time.Microsecond)}
	made, err := in.put(&o, true)
	if err != nil {
		return Operator{}, err
	}
	if err := d.engine.Record(ctx, "", in.Actor, "operator_add", name, string(o.Role)); err != nil {
		return Operator{}, err
	}
	if err := d.store.AddOperator(ctx, o); err != nil {
		return Operator{}, err
	}
	shown := showOperator(o)
	shown.Password = made
	return shown, nil
}

// setOperator ends all logins under the name.
func (d *desk) setOperator(ctx context.Context, in OperatorRequest) (Operator, error) {
	o, err := d.store.Operator(ctx, in.Name)
	if err != nil {
		return Operator{}, err
	}
	made, err := in.put(&o, in.Renew)
	if err != nil {
		return Operator{}, err
	}
	text := string(o.Role)
	if in.Password != "" || in.Renew {
		text += ", new password"
	}
	if err := d.engine.Record(ctx, "", in.Actor, "operator_set", o.Name, text); err != nil {
		return Operator{}, err
	}
	if err := d.store.SetOperator(ctx, o); err != nil {
		return Operator{}, err
	}
	shown := showOperator(o)
	shown.Password = made
	return shown, nil
}

func (d *desk) removeOperator(ctx context.Context, in OperatorRequest) (nothing, error) {
	if _, err := d.store.Operator(ctx, in.Name); err != nil {
		return nothing{}, err
	}
	if err := d.engine.Record(ctx, "", in.Actor, "operator_remove", in.Name, ""); err != nil {
		return nothing{}, err
	}
	return nothing{}, d.store.RemoveOperator(ctx, in.Name)
}

// Operators lists who may log in to the console, by name.
func (c *Client) Operators(ctx context.Context) ([]Operator, error) {
	return call[[]Operator](ctx, c, opOperators, nothing{})
}

// AddOperator adds one; fault.Invalid if the name is taken.
func (c *Client) AddOperator(ctx context.Context, r OperatorRequest) (Operator, error) {
	r.Actor = c.operator
	return call[Operator](ctx, c, opAddOperator, r)
}

// SetOperator changes one and ends his logins; fault.NotFound if there is none.
func (c *Client) SetOperator(ctx context.Context, r OperatorRequest) (Operator, error) {
	r.Actor = c.operator
	return call[Operator](ctx, c, opSetOperator, r)
}

// RemoveOperator removes one with his logins; fault.NotFound if there is none.
func (c *Client) RemoveOperator(ctx context.Context, name string) error {
	_, err := call[nothing](ctx, c, opRemoveOperator, OperatorRequest{Name: name, Actor: c.operator})
	return err
}
