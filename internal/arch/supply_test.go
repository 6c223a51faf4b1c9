package arch

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// licences are those that a module may have, with words that no other of them
// has.
var licences = []struct {
	name  string
	words *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`Apache License\s+Version 2\.0`)},
	{"MPL-2.0", regexp.MustCompile(`Mozilla Public License,? Version 2\.0`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify, and/or distribute this software`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms`)},
}

// copyleft are modules whose own files stay under their licence, where that is
// all right: they are in tests alone.
var copyleft = map[string]string{"pgregory.net/rapid": "MPL-2.0"}

// licenceOf names the licence of a text; "" for none of those.
func licenceOf(text string) string {
	for _, l := range licences {
		if l.words.MatchString(text) {
			return l.name
		}
	}
	return ""
}

// TestLicences: what is built into the program, or into its tests, may be used
// and passed on by everybody.
func TestLicences(t *testing.T) {
	list := func(args ...string) []string {
		t.Helper()
		cmd := exec.Command("go", append(append([]string{"list"}, args...), "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "./...")...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		slices.Sort(lines)
		return slices.Compact(lines)
	}
	modules := list("-test")
	if len(modules) < 30 {
		t.Errorf("only %d modules", len(modules))
	}
	for _, m := range modules {
		path, dir, _ := strings.Cut(m, " ")
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		found := ""
		for _, f := range files {
			if name := strings.ToUpper(filepath.Base(f)); name == "COPYING" || name == "LICENSE" || name == "LICENSE.MD" || name == "LICENSE.TXT" {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				found = licenceOf(string(text))
			}
		}
		switch {
		case found == "":
			t.Errorf("%s: no licence that is known", path)
		case found == "MPL-2.0" && copyleft[path] != found:
			t.Errorf("%s is under %s: its own files stay under it; say in copyleft why that is all right", path, found)
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/payoutd")
	cmd.Dir = root
	built, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range copyleft {
		if slices.Contains(strings.Split(string(built), "\n"), path) {
			t.Errorf("%s is built into the program", path)
		}
	}
}

func TestLicencesAreToldApart(t *testing.T) {
	for text, want := range map[string]string{
		"                                 Apache License\n                           Version 2.0, January 2004": "Apache-2.0",
		"Mozilla Public License Version 2.0\n==================================":                                "MPL-2.0",
		"GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007":                                                   "",
		"GNU AFFERO GENERAL PUBLIC LICENSE":                                                                     "",
		"Business Source License 1.1":                                                                           "",
	} {
		if got := licenceOf(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// keys look like secrets: private keys, keysets of the vault, tokens of common
// services.
var keys = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}|"keyMaterialType"\s*:\s*"SYMMETRIC"|\b(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{10,}|sk_live_[A-Za-z0-9]{16,})`)

// made are files with keys that were made for tests and open nothing.
var made = []string{"sign/testdata/", "internal/vault/testdata/"}

// TestNoKeysInTheSource: no key of anybody's lies beside the source.
func TestNoKeysInTheSource(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skip("not a git repository") // an archive of the source holds what git holds
	}
	files := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if len(files) < 300 {
		t.Errorf("only %d files", len(files))
	}
	inTests := 0
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			if info, statErr := os.Lstat(filepath.Join(root, f)); statErr != nil || info.Mode()&fs.ModeSymlink != 0 {
				continue // deleted, or a link
			}
			t.Fatal(err)
		}
		switch found := keys.Find(text); {
		case found == nil:
		case slices.ContainsFunc(made, func(dir string) bool { return strings.HasPrefix(f, dir) }):
			inTests++
		default:
			t.Errorf("%s: %.30q looks like a key", f, found)
		}
	}
	if inTests == 0 {
		t.Error("not even those of tests are found")
	}
}

func TestKeysAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		"-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkq", 4):         true,
		"  -----BEGIN RSA PRIVATE KEY-----\r\n" + strings.Repeat("MIIEvQIBADANBgkq", 4): true,
		"-----BEGIN OPENSSH PRIVATE KEY-----\n" + strings.Repeat("b3BlbnNzaC1rZXkt", 4): true,
		`{"keyMaterialType": "` + "SYMMETRIC" + `"}`:                                    true,
		"key = AKIA" + strings.Repeat("Q", 16):                                          true,
		"-----BEGIN PUBLIC KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkq", 4):          false,
		`strings.Contains(text, "-----BEGIN PRIVATE KEY-----")`:                         false,
	} {
		if got := keys.MatchString(text); got != want {
			t.Errorf("%q: found %v", text, got)
		}
	}
}
