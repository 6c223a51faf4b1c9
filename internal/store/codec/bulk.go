package codec

import "github.com/payoutd/payoutd/internal/store"

// Apart are the tables that are no part of what an installation has to keep.
// The engines leave them out where tables are read or filled as a whole.
//
// batches answers one question of the process whose COMMIT got no answer, and
// that process has ended; goose_db_version is the schema's own.
var Apart = []string{"batches", "goose_db_version"}

// Seeded are the tables in which a new schema puts rows: their content is
// replaced.
var Seeded = []string{"nodes", "projects_revision"}

// Schema gathers the tables of rows that a catalogue gives, table by table: the
// name of each column and its place in the key, counted from 1, or 0.
type Schema struct{ tables []store.Table }

// Add takes the next row. Those of one table must be next to each other, in the
// order in which the columns are wanted.
func (s *Schema) Add(table, column string, key int) {
	if n := len(s.tables); n == 0 || s.tables[n-1].Name != table {
		s.tables = append(s.tables, store.Table{Name: table})
	}
	t := &s.tables[len(s.tables)-1]
	t.Columns = append(t.Columns, column)
	if key > 0 {
		for len(t.Key) < key {
			t.Key = append(t.Key, "")
		}
		t.Key[key-1] = column
	}
}

// Tables returns what was gathered.
func (s *Schema) Tables() []store.Table { return s.tables }
