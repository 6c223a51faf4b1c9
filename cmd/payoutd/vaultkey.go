package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/vault"
)

// keyFile is where the vault keys of an installation are kept.
type keyFile struct {
	folder
	mu   sync.Mutex
	keys vault.Keys
}

var _ payout.Keeper = (*keyFile)(nil)

// Keys implements payout.Keeper.
func (f *keyFile) Keys() vault.Keys {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys
}

// MayKeep implements payout.Keeper. Several nodes have the keys each for itself,
// so one of them alone must not change its own.
func (f *keyFile) MayKeep() error {
	switch {
	case f.vaultKey != "":
		return fault.New(fault.WrongState, "the vault key comes from PAYOUTD_VAULT_KEY: replace it there, see `payoutd vault key --help`")
	case f.db.shared():
		return fault.New(fault.WrongState, "nodes that share a database have the vault key each for itself: replace it on all of them, see `payoutd vault key --help`")
	}
	return nil
}

// Keep implements payout.Keeper.
func (f *keyFile) Keep(ctx context.Context, k vault.Keys) error {
	if err := f.MayKeep(); err != nil {
		return err
	}
	if err := f.write(ctx, f.path("vault.key"), k); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = k
	return nil
}

// write gives a vault key file new contents, under the key service if there is
// one.
func (f *keyFile) write(ctx context.Context, path string, k vault.Keys) error {
	b, err := f.document(ctx, k)
	if err != nil {
		return err
	}
	return write(path, 0o600, b)
}

func (f *keyFile) document(ctx context.Context, k vault.Keys) ([]byte, error) {
	if f.kms == nil {
		return k.Bytes(), nil
	}
	return k.Wrap(ctx, f.kms)
}

// read opens the vault keys, or makes them where that is allowed.
func (f *keyFile) read(ctx context.Context, fresh bool) error {
	if f.vaultKey != "" {
		keys, err := f.parse(ctx, []byte(f.vaultKey))
		if err != nil {
			return fmt.Errorf("PAYOUTD_VAULT_KEY: %w", err)
		}
		f.keys = keys
		return nil
	}
	path := f.path("vault.key")
	b, err := keep(path, 0o600, generated(fresh, func() ([]byte, error) {
		keys, err := vault.Generate()
		if err != nil {
			return nil, err
		}
		return f.document(ctx, keys)
	}))
	if errors.Is(err, errLost) {
		return fmt.Errorf("the vault key %s is missing, without which no sealed card number can be opened: "+
			"restore it, copy it from another node, or name it by PAYOUTD_VAULT_KEY_FILE", path)
	}
	if err != nil {
		return fmt.Errorf("the vault key: %w", err)
	}
	if f.keys, err = f.parse(ctx, b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (f *keyFile) parse(ctx context.Context, b []byte) (vault.Keys, error) {
	switch {
	case !vault.Wrapped(b):
		return vault.ParseKeys(b)
	case f.kms == nil:
		return vault.Keys{}, errors.New("it is encrypted by a key service: name that by --vault-unwrap")
	}
	return vault.Unwrap(ctx, b, f.kms)
}

type vaultCommand struct {
	State  vaultStateCommand  `cmd:"" help:"Count what is sealed; nothing is opened."`
	Rotate vaultRotateCommand `cmd:"" help:"Seal everything anew under a new key, while the server goes on."`
	Key    vaultKeyCommand    `cmd:"" help:"Replace the vault key step by step, where rotate can't: it comes from outside, or several nodes have it."`
}

type vaultStateCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *vaultStateCommand) Run(ctx context.Context, p *program, g *global) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	s, err := desk.VaultState(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(s)
	}
	p.printf("%d card numbers, %d tokens; %d of them under an old key\n", s.Cards, s.Tokens, s.Stale)
	const several = "the key file has more than one key: go on"
	switch s.Next {
	case "promote":
		p.printf("%s%s\n", several, p.keyStep(g, admin.KeyPromote, "next2.key"))
	case "rotate":
		p.printf("%s with: %s vault rotate%s\n", several, p.name, g.flags())
	case "drop":
		p.printf("%s%s\n", several, p.keyStep(g, admin.KeyDrop, "last.key"))
	}
	return nil
}

type vaultRotateCommand struct {
	Fingerprints bool `help:"Replace the fingerprint key as well, after the key file has leaked. card_id of every card changes."`
}

func (c *vaultRotateCommand) Run(ctx context.Context, p *program, g *global) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	done, err := desk.Rotate(ctx, rotateRequest(c.Fingerprints))
	if err != nil {
		return err
	}
	p.printf("%d rows are sealed anew\n", done.Sealed)
	if done.Dropped {
		p.printf("the old key is gone; a backup of the database from before opens only with the key file from before\n")
	} else {
		p.printf("go on%s\n", p.keyStep(g, admin.KeyDrop, "last.key"))
	}
	return nil
}

// keyStep says how a step is taken that every node has to follow.
func (p *program) keyStep(g *global, step admin.KeyStep, out string) string {
	return fmt.Sprintf(", on every node, with the file of: %s vault key %s --out %s%s", p.name, step, out, g.flags())
}

type vaultKeyCommand struct {
	Add     vaultKeyAddCommand     `cmd:"" help:"First: put a new key beside the present ones. Restart every node with it."`
	Promote vaultKeyPromoteCommand `cmd:"" help:"Second: let the new key seal. Restart every node with it, then: vault rotate."`
	Drop    vaultKeyDropCommand    `cmd:"" help:"Last, after vault rotate: remove the old keys. Restart every node with it."`
}

// keyOut is where a changed key file goes.
type keyOut struct {
	Out string `placeholder:"FILE" help:"Write the new key file here; without it DIR/vault.key is replaced."`
}

type vaultKeyAddCommand struct {
	keyOut
	Fingerprints bool `help:"Add a new fingerprint key as well, after the key file has leaked."`
}

func (c *vaultKeyAddCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.changeKeys(ctx, g, c.Out, admin.KeyAdd, func(k vault.Keys) (vault.Keys, error) { return k.Add(c.Fingerprints) })
}

type vaultKeyPromoteCommand struct{ keyOut }

func (c *vaultKeyPromoteCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.changeKeys(ctx, g, c.Out, admin.KeyPromote, func(k vault.Keys) (vault.Keys, error) {
		if !k.Several() {
			return k, misused("vault key promote: there is one key only; first: %s vault key add%s", p.name, g.flags())
		}
		return k.Promote()
	})
}

type vaultKeyDropCommand struct{ keyOut }

func (c *vaultKeyDropCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.changeKeys(ctx, g, c.Out, admin.KeyDrop, func(k vault.Keys) (vault.Keys, error) {
		if !k.Several() {
			return k, misused("vault key drop: there is one key only, which everything is under")
		}
		return k.Drop()
	})
}

// changeKeys rewrites the vault key file, once the step is in the audit log. A
// key is dropped only when the database says that nothing is left under it.
func (p *program) changeKeys(ctx context.Context, g *global, out string, step admin.KeyStep, change func(vault.Keys) (vault.Keys, error)) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	file := &keyFile{folder: f}
	if err := file.read(ctx, false); err != nil {
		return err
	}
	if out == "" && f.vaultKey != "" {
		return misused("--out: the vault key comes from outside; name a file for the new one")
	}
	next, err := change(file.keys)
	if err != nil {
		return err
	}
	if out == "" {
		out = f.path("vault.key")
	} else if _, err := os.Lstat(out); err == nil {
		return fmt.Errorf("%s exists: a key file is not written over", out)
	}
	if err := p.recordKeyStep(ctx, g, admin.KeyStepRequest{Step: step, File: out}); err != nil {
		return err
	}
	if err := file.write(ctx, out, next); err != nil {
		return err
	}
	p.printf("%s is written; it holds for a node when that is started with it\n", shown(out))
	return nil
}

// recordKeyStep asks the installation whether a step may be taken, and writes
// it down there.
func (p *program) recordKeyStep(ctx context.Context, g *global, r admin.KeyStepRequest) (err error) {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.Close()) }()
	if r.Step == admin.KeyDrop {
		s, err := desk.VaultState(ctx)
		if err != nil {
			return err
		}
		if s.Stale > 0 || s.Keys > 1 {
			return fmt.Errorf("%d rows are under an old key, without which they could never be opened again; first: %s vault rotate%s", s.Stale, p.name, g.flags())
		}
	}
	return desk.RecordKeyStep(ctx, r)
}
