package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// wholeInstallation are the tables that no project owns, and that no payout
// writes. goose_db_version is not ours at all.
var wholeInstallation = []string{"logins", "nodes", "operators", "projects", "projects_revision", "settings", "statement_differences", "statements"}

// secondary are the indexes that are no key: each costs every write.
var secondary = []string{
	"acts_newest", "alarms_newest", "batches_by_id", "events_due", "items_by_lookup", "items_wipe", "npd_requests_end",
	"public_tokens_by_lookup", "public_tokens_end", "reservations_earned", "statements_by_number", "tasks_due",
}

// A rule of the schema is a query for what breaks it; $1 are the tables above.
// Without these the tables could not be spread over machines by project, or a
// commit would do more than it says.
var schemaRules = []struct{ name, breaches string }{
	{"every table has a primary key", `SELECT c.relname::text FROM pg_class c
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> ALL ($1) AND c.relname <> 'goose_db_version'
		AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)`},
	{"the project, partner or person is first in every unique key", `SELECT i.indexrelid::regclass::text FROM pg_index i
		JOIN pg_class c ON c.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
		WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND c.relname <> ALL ($1) AND c.relname <> 'goose_db_version'
		AND a.attname <> CASE c.relname WHEN 'items' THEN 'partner' WHEN 'incomes' THEN 'inn' WHEN 'reservations' THEN 'inn' ELSE 'project' END`},
	{"no foreign keys", `SELECT conname::text FROM pg_constraint
		WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND $1::text[] IS NOT NULL`},
	{"no triggers", `SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND $1::text[] IS NOT NULL`},
	{"no sequences", `SELECT relname::text FROM pg_class
		WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace AND relname <> 'goose_db_version_id_seq' AND $1::text[] IS NOT NULL`},
	{"defaults are constants", `SELECT c.relname || '.' || a.attname FROM pg_attrdef d
		JOIN pg_class c ON c.oid = d.adrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum
		WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> 'goose_db_version' AND $1::text[] IS NOT NULL
		AND pg_get_expr(d.adbin, d.adrelid) !~ '^(''[^'']*''::text|[0-9]+)$'`},
	{"documents are text", `SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND $1::text[] IS NOT NULL
		AND a.atttypid IN ('json'::regtype, 'jsonb'::regtype)`},
	{"names in keys compare byte by byte", `SELECT i.indexrelid::regclass::text FROM pg_index i
		JOIN pg_class c ON c.oid = i.indrelid CROSS JOIN unnest(i.indcollation) u (oid)
		WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> 'goose_db_version' AND $1::text[] IS NOT NULL
		AND u.oid <> 0 AND u.oid <> '"C"'::regcollation`},
	{"no column without a value", `SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'goose_db_version' AND $1::text[] IS NOT NULL
		AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attnotnull`},
}

// breaches lists what breaks the rules, and the indexes that are no keys.
func breaches(t *testing.T, conn *pgx.Conn) (found map[string][]string, indexes []string) {
	t.Helper()
	found = make(map[string][]string)
	strings := func(query string, args ...any) []string {
		rows, err := conn.Query(t.Context(), query, args...)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, rule := range schemaRules {
		if list := strings(rule.breaches, wholeInstallation); len(list) > 0 {
			found[rule.name] = list
		}
	}
	return found, strings(`SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
		WHERE c.relnamespace = 'public'::regnamespace AND NOT i.indisunique ORDER BY 1`)
}

func TestSchemaRules(t *testing.T) {
	found, indexes := breaches(t, connect(t, newDatabase(t)))
	for rule, list := range found {
		t.Errorf("%s, but for %q", rule, list)
	}
	if !slices.Equal(indexes, secondary) {
		t.Errorf("indexes beside the keys: %q, want %q", indexes, secondary)
	}
}

// TestSchemaRulesFind breaks each rule.
func TestSchemaRulesFind(t *testing.T) {
	url := pgtest.URL(t)
	shell(t, url, `CREATE TABLE free (project text COLLATE "C" NOT NULL)`,
		`CREATE TABLE numbered (id bigint NOT NULL PRIMARY KEY, project text COLLATE "C" NOT NULL)`,
		`CREATE TABLE child (project text COLLATE "C" NOT NULL PRIMARY KEY, id bigint NOT NULL CONSTRAINT parent REFERENCES numbered,
			at timestamptz NOT NULL DEFAULT now())`,
		`CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
		`CREATE TRIGGER pulled BEFORE INSERT ON free FOR EACH ROW EXECUTE FUNCTION nothing()`,
		`CREATE SEQUENCE counter`,
		`CREATE TABLE searched (project text NOT NULL PRIMARY KEY, doc jsonb NOT NULL, note text)`,
		`CREATE INDEX slow ON child (at)`)
	found, indexes := breaches(t, connect(t, url))
	for rule, want := range map[string]string{
		"every table has a primary key": "free", "the project, partner or person is first in every unique key": "numbered_pkey", "no foreign keys": "parent",
		"no triggers": "pulled", "no sequences": "counter", "defaults are constants": "child.at", "documents are text": "searched.doc",
		"names in keys compare byte by byte": "searched_pkey", "no column without a value": "searched.note",
	} {
		if got := found[rule]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: found %q, want %q", rule, got, want)
		}
		delete(found, rule)
	}
	if len(found) > 0 || !slices.Equal(indexes, []string{"slow"}) {
		t.Errorf("also found %v and the indexes %q", found, indexes)
	}
}

// TestHotStatementsLookUp reads the plans on empty tables, which is when they
// tempt the planner most to read all of them: no cost may grow with what is
// stored.
func TestHotStatementsLookUp(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	conn, err := n.writers.Acquire(t.Context())
	n.must(err)
	defer conn.Release()
	const (
		sessionsKey = "sessions_pkey (project, id)"
		payoutsKey  = "payouts_pkey (project, session)"
		eventsKey   = "events_pkey (project, session)"
		eventKey    = "events_pkey (project, session, n)"
		taskKey     = "tasks_pkey (project, session, payout, kind)"
	)
	for _, c := range []struct {
		name, query string
		want        []string
	}{
		{"load sessions", loadSessions, []string{sessionsKey}},
		{"load payouts", loadPayouts, []string{payoutsKey}},
		{"load outbox", loadOutbox, []string{eventsKey}},
		{"load books", loadBooks, []string{"books_pkey (project)"}},
		{"load accounts", loadAccounts, []string{"accounts_pkey (project, number)"}},
		{"update accounts", updateAccounts, []string{"accounts_pkey (project, number)"}},
		{"open a statement", selectOpening, []string{"movements_pkey (project, account, at)"}},
		{"read a statement", selectHistory, []string{"entries_pkey (project, no)", "movements_pkey (project, account, at)", "payouts_pkey (project, session)"}},
		{"load keys", loadKeys, []string{"keys_pkey (project, scope, key)"}},
		{"read session", selectSession, []string{payoutsKey, sessionsKey}},
		{"read book", selectBook, []string{"books_pkey (project)"}},
		{"read card", selectCard, []string{"cards_pkey (project, id)"}},
		{"read deliveries", selectDeliveries, []string{"deliveries_pkey (project, session)"}},
		{"read alarms", selectAlarms, []string{"alarms_newest ()"}},
		{"load items", loadItems, []string{"items_pkey (partner, id)"}},
		{"load public tokens", loadPublic, []string{"public_tokens_pkey (project, lookup)"}},
		{"load requests to the tax service", loadNPD, []string{"npd_requests_pkey (project, id)"}},
		{"update requests to the tax service", updateNPD, []string{"npd_requests_pkey (project, id)"}},
		{"wipe requests to the tax service", wipeNPD, []string{"npd_requests_end (ends_at)", "npd_requests_pkey (project, id)"}},
		{"find item", findItem, []string{"items_by_lookup (lookup)"}},
		{"find public token", findPublic, []string{"public_tokens_by_lookup (lookup)"}},
		{"update items", updateItems, []string{"items_pkey (partner, id)"}},
		{"update public tokens", updatePublic, []string{"public_tokens_pkey (project, lookup)"}},
		{"seal cards anew", resealCards, []string{"cards_pkey (project, id)"}},
		{"seal items anew", resealItems, []string{"items_pkey (partner, id)"}},
		{"wipe items", wipeItems, []string{"items_pkey (partner, id)", "items_wipe (wipe_at)"}},
		{"wipe public tokens", wipePublic, []string{"public_tokens_end (ends_at)", "public_tokens_pkey (project, lookup)"}},
		{"read a statement", selectStatement, []string{"statements_by_number (number)"}},
		{"read differences", selectDifferences, []string{"statement_differences_pkey (statement)"}},
		{"read lines of statements", linesAbout, []string{"statement_lines_pkey (project, rail, reference)"}},
		{"look for sessions to archive", selectLooked, []string{"sessions_pkey (project)"}},
		{"lock sessions to archive", lockLeaving, []string{sessionsKey}},
		{"read sessions to archive", selectLeaving(&codec.RecordTables[0]), []string{sessionsKey}},
		{"read webhooks to archive", selectLeaving(&codec.RecordTables[2]), []string{"events_pkey (project, session)"}},
		{"remove sessions", deleteLeaving(&codec.RecordTables[0]), []string{sessionsKey}},
		{"remove payouts", deleteLeaving(&codec.RecordTables[1]), []string{payoutsKey}},
		{"remove webhooks", deleteLeaving(&codec.RecordTables[2]), []string{"events_pkey (project, session)"}},
		{"remove deliveries", deleteLeaving(&codec.RecordTables[3]), []string{"deliveries_pkey (project, session)"}},
		{"remove cards", deleteCards, []string{"cards_pkey (project, id)"}},
		{"tasks of sessions to archive", tasksAmong, []string{"tasks_pkey (project, session)"}},
		{"what stays of some sessions", archivedAmong, []string{"archived_pkey (project, session)"}},
		{"what stays of a session", selectArchived, []string{"archived_pkey (project, session)"}},
		{"load incomes", loadIncomes, []string{"incomes_pkey (inn, year)"}},
		{"load reservations", loadReservations, []string{"reservations_pkey (inn, year, payout)"}},
		{"read income", selectIncome, []string{"incomes_pkey (inn, year)"}},
		{"read reservations", selectEarned, []string{"reservations_earned (earned_at)"}},
		{"update incomes", updateIncomes, []string{"incomes_pkey (inn, year)"}},
		{"update sessions", updateSessions, []string{sessionsKey}},
		{"update payouts", updatePayouts, []string{"payouts_pkey (project, session, no)"}},
		{"update events", updateEvents, []string{eventKey}},
		{"update books", updateBooks, []string{"books_pkey (project)"}},
		{"prove sessions", proveSessions, []string{sessionsKey}},
		{"prove books", proveBooks, []string{"books_pkey (project)"}},
		{"prove keys", proveKeys, []string{"keys_pkey (project, scope, key)"}},
		{"raise sessions", raiseSessions, []string{sessionsKey}},
		{"remove tasks", deleteTasks, []string{taskKey}},
		{"look up batch by number", committedBatch, []string{"batches_by_id (id)"}},
		{"forget batches", forgetBatches, []string{"batches_by_id (id)", "batches_pkey (project, id)"}},
		{"claim tasks", claimTasks, []string{sessionsKey, sessionsKey, "tasks_due (due)", "tasks_pkey (project, session)"}},
		{"claim events", claimEvents, []string{"events_due (due)", eventKey, sessionsKey, sessionsKey}},
		{"renew tasks", renewTasks, []string{taskKey, taskKey}},
		{"keep node number", keepNode, []string{"nodes_pkey (number)"}},
		{"renew events", renewEvents, []string{eventKey, eventKey}},
		{"release tasks", releaseTasks, []string{taskKey, taskKey}},
		{"release events", releaseEvents, []string{eventKey, eventKey}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(t, conn.Conn(), c.query)
			if !slices.Equal(got, c.want) {
				t.Errorf("searches %q, want %q", got, c.want)
			}
		})
	}
}

var (
	parameter = regexp.MustCompile(`\$\d+`)
	scan      = regexp.MustCompile(`(?:Index|Index Only|Bitmap Index) Scan(?: Backward)? (?:using|on) (\w+)`)
	column1   = regexp.MustCompile(`\(?\(?(?:\w+\.)?(\w+)\)? (?:=|<=|<) `)
)

// plan lists the indexes that a statement searches, with the columns of each
// search, and what must not be: a table read from end to end, a claim that sorts
// all that is due.
func plan(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	last := 0
	for _, p := range parameter.FindAllString(query, -1) {
		n, err := strconv.Atoi(p[1:])
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, n)
	}
	if _, err := conn.Exec(t.Context(), "PREPARE hot AS "+query, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = conn.Exec(context.Background(), "DEALLOCATE hot", pgx.QueryExecModeSimpleProtocol) }()
	nulls := strings.TrimSuffix(strings.Repeat("NULL, ", last), ", ")
	rows, err := conn.Query(t.Context(), fmt.Sprintf("EXPLAIN (COSTS OFF) EXECUTE hot (%s)", nulls), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for i, line := range lines {
		switch {
		case strings.Contains(line, "Seq Scan"), strings.Contains(line, "Sort") && strings.Contains(query, "SKIP LOCKED"):
			found = append(found, strings.TrimSpace(line))
		case scan.MatchString(line):
			var columns []string
			if i+1 < len(lines) && strings.Contains(lines[i+1], "Index Cond:") {
				_, cond, _ := strings.Cut(lines[i+1], "Index Cond: ")
				for _, m := range column1.FindAllStringSubmatch(cond, -1) {
					columns = append(columns, m[1])
				}
			}
			found = append(found, fmt.Sprintf("%s (%s)", scan.FindStringSubmatch(line)[1], strings.Join(columns, ", ")))
		}
	}
	slices.Sort(found)
	return found
}

func TestOpenRefusals(t *testing.T) {
	empty, migrated, newer := pgtest.URL(t), newDatabase(t), newDatabase(t)
	shell(t, newer, `INSERT INTO goose_db_version (version_id, is_applied) SELECT max(version_id) + 1, true FROM goose_db_version`)
	for _, c := range []struct {
		name, url string
		want      fault.Code
		says      string
	}{
		{"no URL", "postgres://user:hunter2@host:port/name", fault.Invalid, "URL"},
		{"no server", "postgres://postgres:hunter2@127.0.0.1:1/name", fault.Busy, "127.0.0.1"},
		{"no such database", migrated[:strings.LastIndex(migrated, "/")] + "/nobody", fault.Internal, "nobody"},
		{"no such user", strings.Replace(migrated, "postgres@", "nobody:hunter2@", 1), fault.Internal, "nobody"},
		{"empty", empty, fault.Invalid, "`payoutd migrate`"},
		{"newer schema", newer, fault.Invalid, "run a newer payoutd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(t.Context(), c.url, nil)
			wantCode(t, err, c.want)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %s", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v tells the password", err)
			}
		})
	}
	wantCode(t, Migrate(t.Context(), newer, nil), fault.Invalid)
}

func TestMigrate(t *testing.T) {
	url := pgtest.URL(t)
	current, target, err := Version(t.Context(), url)
	if err != nil || current != 0 || target < 1 {
		t.Fatalf("version %d of %d, error %v; want 0 and more", current, target, err)
	}
	var all sync.WaitGroup
	for range 3 { // at once, as the nodes of a rollout do
		all.Go(func() {
			if err := Migrate(t.Context(), url, nil); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	all.Wait()
	if err := Migrate(t.Context(), url, nil); err != nil {
		t.Errorf("migrate again: %v", err)
	}
	current, target, err = Version(t.Context(), url)
	if err != nil || current != target {
		t.Errorf("version %d of %d, error %v; want both the same", current, target, err)
	}
	var times int
	if err := connect(t, url).QueryRow(t.Context(), `SELECT count(*) FROM goose_db_version WHERE version_id = $1`, target).Scan(&times); err != nil || times != 1 {
		t.Errorf("the last migration ran %d times, error %v; want once", times, err)
	}
}

// TestConnectionSettings wants commits to wait for the disk and stalled nodes
// to be cut off, whatever the server's defaults are, and reads of whole tables
// to be planned freely.
func TestConnectionSettings(t *testing.T) {
	url := newDatabase(t)
	shell(t, url, `ALTER DATABASE `+connect(t, url).Config().Database+` SET synchronous_commit = off`)
	n := join(t, url, 1)
	var fsync string
	n.must(connect(t, url).QueryRow(t.Context(), `SHOW fsync`).Scan(&fsync))
	if warned := strings.Contains(n.logged.String(), "may lose what it has confirmed"); warned != (fsync == "off") {
		t.Errorf("fsync is %s, and the log says %q", fsync, n.logged)
	}
	for _, c := range []struct{ name, writers, snapshots string }{
		{"synchronous_commit", "on", "off"},
		{"idle_in_transaction_session_timeout", "5s", "0"},
		{"lock_timeout", "6s", "0"},
		{"enable_seqscan", "off", "on"},
		{"plan_cache_mode", "force_generic_plan", "auto"},
		{"application_name", "payoutd", "payoutd"},
	} {
		var writers, snapshots string
		n.must(n.writers.QueryRow(t.Context(), `SELECT current_setting($1)`, c.name).Scan(&writers))
		n.must(n.snapshots.QueryRow(t.Context(), `SELECT current_setting($1)`, c.name).Scan(&snapshots))
		if writers != c.writers || snapshots != c.snapshots {
			t.Errorf("%s is %q for writers and %q for snapshots, want %q and %q", c.name, writers, snapshots, c.writers, c.snapshots)
		}
	}
}
