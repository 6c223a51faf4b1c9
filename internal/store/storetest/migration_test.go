package storetest

import (
	"strings"
	"testing"
)

func TestBreaches(t *testing.T) {
	for _, row := range []struct {
		name, text string
		online     bool
		want       string // part of the only breach; "" for none
	}{
		{"a table with all it has", `CREATE TABLE t (a bigint NOT NULL); CREATE UNIQUE INDEX i ON t (a); INSERT INTO t (a) VALUES (1);`, true, ""},
		{"rows from a list", `CREATE TABLE t (a bigint); WITH n AS (SELECT 1) INSERT INTO t (a) SELECT * FROM n;`, true, ""},
		{"a trigger of a new table", "CREATE TABLE t (a bigint);\n-- +goose StatementBegin\nCREATE TRIGGER x BEFORE DELETE ON t BEGIN SELECT 1; END;\n-- +goose StatementEnd\n", false, ""},
		{"a column", `ALTER TABLE old ADD COLUMN a bigint;`, true, ""},
		{"a column with a default", `ALTER TABLE old ADD COLUMN a text NOT NULL DEFAULT '';`, true, ""},
		{"an index beside the work", `CREATE INDEX CONCURRENTLY i ON old (a);`, true, ""},
		{"an index where nobody works", `CREATE INDEX i ON old (a);`, false, ""},
		{"words in a comment", "-- DROP TABLE old;\nALTER TABLE old ADD COLUMN a bigint;", true, ""},

		{"drop table", `DROP TABLE old;`, false, "nothing else"},
		{"drop column", `ALTER TABLE old DROP COLUMN a;`, true, "nothing else"},
		{"rename", `ALTER TABLE old RENAME COLUMN a TO b;`, true, "nothing else"},
		{"another type", `ALTER TABLE old ALTER COLUMN a TYPE text;`, true, "nothing else"},
		{"not null afterwards", `alter table old alter column a set not null;`, true, "nothing else"},
		{"a constraint", `ALTER TABLE old ADD CONSTRAINT c CHECK (a > 0);`, true, "nothing else"},
		{"changed rows", `UPDATE old SET a = 1;`, true, "nothing else"},
		{"removed rows", `DELETE FROM old;`, false, "nothing else"},
		{"a column without a default", `ALTER TABLE old ADD COLUMN a bigint NOT NULL;`, true, "needs a default"},
		{"a column with a check", `ALTER TABLE old ADD COLUMN a bigint CHECK (a > 0);`, true, "no constraint"},
		{"a column that is computed", `ALTER TABLE old ADD COLUMN a timestamptz DEFAULT clock_timestamp();`, true, "calls a function"},
		{"an index in the way", `CREATE INDEX i ON old (a);`, true, "CONCURRENTLY"},
		{"a unique index", `CREATE UNIQUE INDEX CONCURRENTLY i ON old (a);`, true, "no unique index"},
		{"a trigger on a table in use", `CREATE TRIGGER x AFTER UPDATE ON old EXECUTE FUNCTION f();`, true, "a trigger"},
		{"new rows", `INSERT INTO old (a) VALUES (1);`, true, "rows in a table in use"},
		{"the second statement", `ALTER TABLE old ADD COLUMN a bigint; DROP INDEX i;`, true, "DROP INDEX i"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := breaches("-- +goose Up\n"+row.text, row.online)
			if row.want == "" && len(got) > 0 || row.want != "" && (len(got) != 1 || !strings.Contains(got[0], row.want)) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
