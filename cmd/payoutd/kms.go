package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/vault"
)

// kms is a key service or hardware module behind two shell commands, such as
// pkcs11-tool or the client of a cloud's key service. The program stays one
// static file without drivers of its own, and knows no PIN or password: those
// are the commands' business.
type kms struct{ wrap, unwrap string }

var _ vault.KMS = (*kms)(nil)

// kmsTimeout bounds one call of a command.
const kmsTimeout = 30 * time.Second

// kmsBytesMax is far more than any service makes of a hundred bytes.
const kmsBytesMax = 64 << 10

// Wrap implements vault.KMS.
func (k *kms) Wrap(ctx context.Context, key []byte) ([]byte, error) {
	if k.wrap == "" {
		return nil, errors.New("--vault-wrap is not set, without which the vault key file can't be written")
	}
	return pipe(ctx, "--vault-wrap", k.wrap, key)
}

// Unwrap implements vault.KMS.
func (k *kms) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return pipe(ctx, "--vault-unwrap", k.unwrap, wrapped)
}

// pipe runs a command over some bytes. Its error has what the command said on
// stderr, never what it wrote or read.
func pipe(ctx context.Context, flag, command string, in []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.WaitDelay = time.Second // for what the shell has started and left behind
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: no answer: %w", flag, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", flag, err, strings.TrimSpace(said.String()))
	case out.Len() == 0 || out.Len() > kmsBytesMax:
		return nil, fmt.Errorf("%s: the command wrote %d bytes", flag, out.Len())
	}
	return out.Bytes(), nil
}
