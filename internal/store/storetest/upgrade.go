package storetest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/store"
)

// update writes the rows that the newest schema has in its place among those of
// earlier ones. What is there is never written again: it is how a release left
// its database.
var update = flag.Bool("update-schema", false, "keep the rows of the newest schema in storetest/testdata")

// Old is a database with an earlier schema.
type Old struct {
	// Insert adds one row as a program of that time does, which knows none but
	// the columns it names.
	Insert func(table string, columns []string, values []any) error
	// Upgrade brings the schema up to the newest and opens the engine. Insert
	// goes on to work: the last of the old nodes may not have stopped yet.
	Upgrade func() store.Bulk
}

// RunUpgrades takes a database of each schema version, with the rows that it
// had then, to the newest one. versions are all there are, in ascending order; at
// makes a database with the schema of one.
func RunUpgrades(t *testing.T, versions []int64, open func(*testing.T) store.Bulk, at func(t *testing.T, version int64) Old) {
	newest := versions[len(versions)-1]
	if *update {
		keep(t, newest, open(t))
	}
	for _, version := range versions {
		t.Run(fmt.Sprintf("from %d", version), func(t *testing.T) {
			kept := Kept(t, version)
			old := at(t, version)
			insert(t, old, kept, func(table string) bool { return table != "alarms" })
			s := old.Upgrade()
			// A node of the release before is still at work.
			insert(t, old, kept, func(table string) bool { return table == "alarms" })
			now := whole(t, s)
			for name, was := range kept {
				if got := now[name].cut(was.Columns); !slices.Equal(got, was.Rows) {
					t.Errorf("table %s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(was.Rows, "\n     "))
				}
			}
			if version == newest {
				for name := range now {
					if _, ok := kept[name]; !ok && name != "nodes" {
						t.Errorf("no rows are kept of the table %s", name)
					}
				}
			}
		})
	}
}

func insert(t *testing.T, old Old, kept map[string]Rows, wanted func(table string) bool) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if !wanted(name) {
			continue
		}
		for _, row := range kept[name].Values(t) {
			if err := old.Insert(name, kept[name].Columns, row); err != nil {
				t.Fatalf("a row of %s as it was then: %v", name, err)
			}
		}
	}
}

// Rows are those of a table, each as a JSON list: numbers, texts, and bytes as
// {"hex": "00ff"}.
type Rows struct {
	Columns []string
	Rows    []string
}

// Values are the rows as a driver takes them.
func (r Rows) Values(t testing.TB) [][]any {
	t.Helper()
	var list [][]any
	for _, row := range r.Rows {
		var values []any
		d := json.NewDecoder(strings.NewReader(row))
		d.UseNumber()
		if err := d.Decode(&values); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
		for i, v := range values {
			var err error
			switch v := v.(type) {
			case json.Number:
				values[i], err = v.Int64()
			case map[string]any:
				values[i], err = hex.DecodeString(v["hex"].(string))
			}
			if err != nil {
				t.Fatalf("%s: %v", row, err)
			}
		}
		list = append(list, values)
	}
	return list
}

// cut leaves out the columns that are not named, in the order that is given.
func (r Rows) cut(columns []string) []string {
	var list []string
	for _, row := range r.Rows {
		var values, kept []json.RawMessage
		if err := json.Unmarshal([]byte(row), &values); err != nil {
			panic(err) // it was written here
		}
		for _, c := range columns {
			if i := slices.Index(r.Columns, c); i >= 0 {
				kept = append(kept, values[i])
			}
		}
		list = append(list, line(kept))
	}
	return list
}

// line is one JSON value on one line, without escapes that nobody needs.
func line(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // values of three kinds
	}
	return strings.TrimSpace(b.String())
}

// whole reads all tables but the node numbers, of which a schema brings its own.
func whole(t testing.TB, s store.Bulk) map[string]Rows {
	t.Helper()
	tables := map[string]Rows{}
	err := s.Dump(t.Context(), func(d store.Dump) error {
		list, err := d.Tables(t.Context())
		if err != nil {
			return err
		}
		for _, table := range list {
			if table.Name == "nodes" {
				continue
			}
			r := Rows{Columns: table.Columns}
			for row, err := range d.Rows(t.Context(), table) {
				if err != nil {
					return err
				}
				values := slices.Clone(row)
				for i, v := range values {
					if b, ok := v.([]byte); ok {
						values[i] = map[string]string{"hex": hex.EncodeToString(b)}
					}
				}
				r.Rows = append(r.Rows, line(values))
			}
			tables[table.Name] = r
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// kept is the file with the rows of a schema version.
func keptFile(version int64) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "testdata", fmt.Sprintf("schema-%05d.txt", version))
}

// Kept are the rows that a database had at a schema version, by table. Each
// table is a line with its name and columns, then its rows.
func Kept(t testing.TB, version int64) map[string]Rows {
	t.Helper()
	b, err := os.ReadFile(keptFile(version))
	if err != nil {
		t.Fatalf("the rows of schema %d are not kept: run this test with -update-schema once: %v", version, err)
	}
	tables, name := map[string]Rows{}, ""
	for text := range strings.Lines(string(b)) {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "[") {
			r := tables[name]
			r.Rows = append(r.Rows, text)
			tables[name] = r
			continue
		}
		words := strings.Fields(text)
		name = words[0]
		tables[name] = Rows{Columns: words[1:]}
	}
	return tables
}

// keep writes the file of the newest version if there is none.
func keep(t *testing.T, version int64, s store.Bulk) {
	t.Helper()
	if _, err := os.Stat(keptFile(version)); err == nil {
		return
	}
	Installation(t, s)
	tables := whole(t, s)
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		fmt.Fprintln(&b, name, strings.Join(tables[name].Columns, " "))
		for _, row := range tables[name].Rows {
			fmt.Fprintln(&b, row)
		}
	}
	if err := os.WriteFile(keptFile(version), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
