package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// folderDefault is where an installation lives if nobody says otherwise.
const folderDefault = "payoutd-data"

// global are the flags that all commands share.
type global struct {
	Data        string `placeholder:"DIR" help:"Folder of the installation (default: payoutd-data, or that of the SQLite file)."`
	DB          string `name:"db" placeholder:"URL" secret:"" help:"Database: sqlite:PATH or postgres://USER@HOST/NAME (default: sqlite:DIR/payoutd.db)."`
	VaultKey    string `hidden:"" secret:"" help:"Content of the vault key file, in place of DIR/vault.key."`
	VaultWrap   string `secret:"" placeholder:"COMMAND" help:"Shell command of a key service that encrypts stdin to stdout: the vault key file is kept under it."`
	VaultUnwrap string `secret:"" placeholder:"COMMAND" help:"Its reverse; needed at every start."`
	LogLevel    string `default:"info" enum:"debug,info,warn,error" help:"Least level that is logged: ${enum}."`
	LogFormat   string `default:"text" enum:"text,json" help:"Form of the log: ${enum}."`
}

// logger logs to w at the level asked for, but nothing below least.
func (g *global) logger(w io.Writer, least slog.Level) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.LogLevel)); err != nil {
		level = slog.LevelInfo // not reached: the grammar knows the levels
	}
	options := &slog.HandlerOptions{Level: max(level, least)}
	if g.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// folder is where everything of an installation lies but, perhaps, its
// database. Its path is absolute.
type folder struct {
	dir      string
	db       database
	vaultKey string // content of the vault key where it comes from outside, else ""
	kms      *kms   // that the vault key is kept under; nil for none
}

// folder finds the installation that the flags name.
func (g *global) folder() (folder, error) {
	dir := g.Data
	switch path, ok := strings.CutPrefix(g.DB, "sqlite:"); {
	case dir != "":
	case ok && path != "":
		dir = filepath.Dir(path)
	default:
		dir = folderDefault
	}
	db, err := parseDatabase(g.DB, dir)
	if err != nil {
		return folder{}, err
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return folder{}, err
	}
	f := folder{dir: absolute, db: db, vaultKey: g.VaultKey}
	if g.VaultWrap != "" && g.VaultUnwrap == "" {
		return folder{}, misused("--vault-wrap needs --vault-unwrap: what is encrypted must be read again at the next start")
	}
	if g.VaultUnwrap != "" {
		f.kms = &kms{wrap: g.VaultWrap, unwrap: g.VaultUnwrap}
	}
	return f, nil
}

func (f folder) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

// shown is where the installation is, as an operator would type it.
func (f folder) shown() string {
	if f.db.shared() {
		return f.db.name + " with the folder " + shown(f.dir)
	}
	return shown(f.dir)
}

// create makes the folder, for its owner only.
func (f folder) create() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("the data folder: %w", err)
	}
	return nil
}

// simulated reports whether a sandbox has used the folder.
func (f folder) simulated() bool {
	_, err := os.Stat(f.path("sim", "world.db"))
	return err == nil
}

// shown is a path as an operator would type it.
func shown(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(relative, "..") {
		return relative
	}
	return path
}

// keep reads a file or, if it is not there, makes it once for good. A file that
// exists is never written again: it may be the only copy of a key.
func keep(path string, mode fs.FileMode, content func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err = content(); err != nil {
		return nil, err
	}
	return b, write(path, mode, b)
}

// write gives a file new contents: after a crash it has the old ones or the new
// ones, whole. A file that has them already is left alone.
func write(path string, mode fs.FileMode, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	draft, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.draft")
	if err != nil {
		return err
	}
	_, err = draft.Write(content)
	if err = errors.Join(err, draft.Chmod(mode), draft.Sync(), draft.Close()); err != nil {
		return errors.Join(err, os.Remove(draft.Name()))
	}
	if err := os.Rename(draft.Name(), path); err != nil {
		return errors.Join(err, os.Remove(draft.Name()))
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// flags are what names the same installation in another command, with a blank
// before them.
func (g *global) flags() string {
	var b strings.Builder
	if g.Data != "" {
		b.WriteString(" --data " + quote(g.Data))
	}
	if g.DB != "" {
		b.WriteString(" --db " + quote(withoutPassword(g.DB)))
	}
	return b.String()
}

// quote makes one word for the shell of s.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n'\"\\$`*?[]{}()<>|&;!#~") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
