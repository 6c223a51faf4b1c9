package storetest

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// WantAdditions wants the migrations after the first to do nothing that the
// release before could stumble over: its nodes are at work while they run, and
// for a while after. online says that there are such nodes, and that nobody may
// be kept waiting for a table to be read through.
func WantAdditions(t *testing.T, files fs.FS, online bool) {
	t.Helper()
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d migrations, error %v", len(names), err)
	}
	slices.Sort(names)
	for _, name := range names[1:] {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, breach := range breaches(string(text), online) {
			t.Errorf("%s: %s", path.Base(name), breach)
		}
	}
}

var (
	comment   = regexp.MustCompile(`--[^\n]*`)
	blanks    = regexp.MustCompile(`\s+`)
	newTable  = regexp.MustCompile(`^CREATE TABLE (\w+) `)
	newIndex  = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?\w+ ON (\w+) `)
	newColumn = regexp.MustCompile(`^ALTER TABLE (\w+) ADD COLUMN (.*)$`)
	vacuum    = regexp.MustCompile(`^ALTER TABLE \w+ SET \((?:AUTOVACUUM_\w+ = [0-9.]+(?:, )?)+\)$`)
	trigger   = regexp.MustCompile(`^CREATE TRIGGER \w+ (?:BEFORE|AFTER) \w+ ON (\w+) `)
	newRows   = regexp.MustCompile(`^(?:WITH .*)?INSERT INTO (\w+) `)
)

// breaches lists what a migration must not do. What it adds it may also fill.
func breaches(text string, online bool) (list []string) {
	added := map[string]bool{}
	for _, statement := range statements(text) {
		s := strings.ToUpper(statement)
		refuse := func(why string) { list = append(list, fmt.Sprintf("%s: %q", why, statement)) }
		switch {
		case newTable.MatchString(s):
			added[newTable.FindStringSubmatch(s)[1]] = true
		case newIndex.MatchString(s):
			m := newIndex.FindStringSubmatch(s)
			switch {
			case added[m[3]]:
			case m[1] != "":
				refuse("a table that is in use gets no unique index: what the release before writes may break it")
			case online && m[2] == "":
				refuse("a table that is in use gets its index CONCURRENTLY")
			}
		case newColumn.MatchString(s):
			m := newColumn.FindStringSubmatch(s)
			switch {
			case added[m[1]]:
			case strings.Contains(m[2], "NOT NULL") && !strings.Contains(m[2], "DEFAULT"):
				refuse("the release before does not write this column, so it needs a default")
			case strings.Contains(m[2], "UNIQUE") || strings.Contains(m[2], "REFERENCES") || strings.Contains(m[2], "CHECK"):
				refuse("a column of a table in use has no constraint of its own")
			case regexp.MustCompile(`DEFAULT [^']*\(`).MatchString(m[2]):
				refuse("a default that calls a function rewrites the table")
			}
		case vacuum.MatchString(s): // it waits for nobody but another vacuum, and changes no row
		case trigger.MatchString(s):
			if !added[trigger.FindStringSubmatch(s)[1]] {
				refuse("a trigger on a table in use")
			}
		case newRows.MatchString(s):
			if !added[newRows.FindStringSubmatch(s)[1]] {
				refuse("rows in a table in use")
			}
		default:
			refuse("a migration adds tables, columns and indexes, and does nothing else")
		}
	}
	return list
}

// statements are those of a migration, each on one line.
func statements(text string) (list []string) {
	const begin, end = "-- +goose StatementBegin", "-- +goose StatementEnd"
	for text != "" {
		before, rest, found := strings.Cut(text, begin)
		for s := range strings.SplitSeq(comment.ReplaceAllString(before, ""), ";") {
			list = append(list, s)
		}
		if !found {
			break
		}
		block, after, _ := strings.Cut(rest, end)
		list = append(list, comment.ReplaceAllString(block, ""))
		text = after
	}
	for i := range list {
		list[i] = strings.TrimSpace(blanks.ReplaceAllString(list[i], " "))
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}
