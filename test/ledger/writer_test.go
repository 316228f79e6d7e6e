package ledger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// writer runs random transactions on one connection at a time. What it tries follows from the seed; what becomes of it, from the other writers and
// the faults.
type writer struct {
	r        *rand.Rand // draws the plan
	late     *rand.Rand // draws what depends on how it goes
	url      string
	name     string
	count    int  // transactions
	messages bool // the server carries logical messages
	bulk     int  // rows of the one big transaction, 0 for none
	pace     time.Duration

	conn     *pgx.Conn
	prepared string // a transaction that waits for its second phase
}

// newRand is one of the sources that a seed gives.
func newRand(seed, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) } //nolint:gosec // G404: to be repeated, not to be secret

func newWriter(seed, n uint64, url string, count int, messages bool) *writer {
	return &writer{
		r: newRand(seed, n), late: newRand(seed, n+1<<32), url: url, name: fmt.Sprintf("w%d", n), count: count, messages: messages,
	}
}

// run writes until all transactions were tried. It never fails: what is lost in a crash is lost in the ledger too.
func (w *writer) run(ctx context.Context) {
	defer w.disconnect()
	for i := 0; i < w.count && ctx.Err() == nil; i++ {
		steps := w.plan(i)
		if w.bulk > 0 && i == w.count/3 {
			for range 4 { // it is long, and others hold locks and crash the server
				if w.connect(ctx) != nil || w.try(ctx, w.bulkPlan()) {
					break
				}
			}
		}
		pause := time.Duration(w.r.Int64N(int64(w.pace)))
		if err := w.connect(ctx); err != nil {
			return
		}
		w.try(ctx, steps)
		wait(ctx, pause)
	}
	if w.connect(ctx) == nil {
		w.secondPhase(ctx, true)
	}
}

// wait is a pause that ends with ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (w *writer) connect(ctx context.Context) error {
	for w.conn == nil || w.conn.IsClosed() {
		conn, err := pgx.Connect(ctx, w.url)
		if err == nil {
			w.conn = conn
			_, err = conn.Exec(ctx, "set lock_timeout = '1s'; set statement_timeout = '20s'", pgx.QueryExecModeSimpleProtocol)
		}
		if err != nil {
			w.disconnect()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			wait(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

func (w *writer) disconnect() {
	if w.conn != nil {
		_ = w.conn.Close(context.Background()) // the server may be gone
		w.conn = nil
	}
}

func (w *writer) exec(ctx context.Context, sql string) error {
	_, err := w.conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// try runs a transaction and reports whether it got to its end. A statement that fails undoes its savepoint, or everything.
func (w *writer) try(ctx context.Context, steps []string) bool {
	if w.exec(ctx, "begin") != nil {
		return false
	}
	depth := 0
	for _, step := range steps {
		sql := step
		switch {
		case step == "savepoint":
			sql = fmt.Sprintf("savepoint s%d", depth)
			depth++
		case depth == 0 && (step == "release" || step == "undo"):
			continue // its savepoint is gone already
		case step == "release":
			depth--
			sql = fmt.Sprintf("release savepoint s%d", depth)
		case step == "undo":
			depth--
			sql = undo(depth)
		}
		if w.exec(ctx, sql) == nil {
			continue
		}
		if depth == 0 || w.conn.IsClosed() {
			_ = w.exec(ctx, "rollback") // a connection that is broken is replaced
			return false
		}
		depth--
		if w.exec(ctx, undo(depth)) != nil {
			return false
		}
	}
	w.secondPhase(ctx, w.late.IntN(3) > 0)
	return true
}

func undo(depth int) string {
	return fmt.Sprintf("rollback to savepoint s%[1]d; release savepoint s%[1]d", depth)
}

// secondPhase ends what was prepared, now or after another transaction.
func (w *writer) secondPhase(ctx context.Context, now bool) {
	if w.prepared == "" || !now {
		return
	}
	verb := "commit"
	if w.late.IntN(4) == 0 {
		verb = "rollback"
	}
	if w.exec(ctx, fmt.Sprintf("%s prepared '%s'", verb, w.prepared)) == nil {
		w.prepared = ""
	}
	if w.conn.IsClosed() && w.connect(ctx) == nil {
		_ = w.exec(ctx, fmt.Sprintf("%s prepared '%s'", verb, w.prepared)) // it may have been the first that succeeded
	}
	w.prepared = ""
}

// plan is the i-th transaction: "savepoint", "release", "undo", SQL, and how it ends.
func (w *writer) plan(i int) []string {
	var steps []string
	depth := 0
	for range 1 + w.r.IntN(6) {
		switch n := w.r.IntN(100); {
		case n < 12 && depth < 3:
			steps = append(steps, "savepoint")
			depth++
		case n < 18 && depth > 0:
			steps = append(steps, "undo")
			depth--
		case n < 22 && depth > 0:
			steps = append(steps, "release")
			depth--
		case n < 28:
			steps = append(steps, w.exceptions())
		case n < 32:
			steps = append(steps, w.signal()...)
		case n < 34:
			steps = append(steps, w.ddl(i)...)
		case n < 35:
			steps = append(steps, w.truncate())
		default:
			steps = append(steps, w.statement())
		}
	}
	switch n := w.r.IntN(100); {
	case n < 10:
		return append(steps, "rollback")
	case n < 13 && w.prepared == "":
		w.prepared = fmt.Sprintf("%s_%d", w.name, i)
		return append(steps, fmt.Sprintf("prepare transaction '%s'", w.prepared))
	}
	return append(steps, "commit")
}

const nextVersion = "nextval('version')"

// note is a short value, now and then one that is stored out of line.
func (w *writer) note() string {
	if w.r.IntN(12) == 0 {
		return fmt.Sprintf("(select string_agg(md5(g::text || '%d'), '') from generate_series(1, 120) g)", w.r.IntN(1000))
	}
	return fmt.Sprintf("'n%d'", w.r.IntN(1000))
}

// id is a key: mostly one of a few.
func (w *writer) id() int {
	if w.r.IntN(5) > 0 {
		return 1 + w.r.IntN(4)
	}
	return 1 + w.r.IntN(16)
}

// target is a table, its key columns and how many keys it has.
func (w *writer) target() (name, columns, values, where string) {
	id := w.id()
	switch w.r.IntN(5) {
	case 0:
		return "plain", "id", strconv.Itoa(id), fmt.Sprintf("id = %d", id)
	case 1:
		b := string(rune('a' + w.r.IntN(2)))
		return "pair", "a, b", fmt.Sprintf("%d, '%s'", id, b), fmt.Sprintf("a = %d and b = '%s'", id, b)
	case 2:
		return "wide", "id", strconv.Itoa(id), fmt.Sprintf("id = %d", id)
	case 3:
		return "loose", "id", strconv.Itoa(id), fmt.Sprintf("id = %d", id)
	default:
		region := w.r.IntN(4)
		return "parted", "region, id", fmt.Sprintf("%d, %d", region, id), fmt.Sprintf("region = %d and id = %d", region, id)
	}
}

// statement changes one row, or a few.
func (w *writer) statement() string {
	name, columns, values, where := w.target()
	switch n := w.r.IntN(20); {
	case n < 6 && name == "loose":
		return fmt.Sprintf("insert into loose (id, v, note) select %s, %s, %s where not exists (select from loose where %s)", values, nextVersion, w.note(), where)
	case n < 3:
		return fmt.Sprintf("insert into %s (%s, v, note) values (%s, %s, %s) on conflict do nothing", name, columns, values, nextVersion, w.note())
	case n < 6:
		return fmt.Sprintf("insert into %s (%s, v, note) values (%s, %s, %s) on conflict (%s) do update set v = excluded.v, note = excluded.note",
			name, columns, values, nextVersion, w.note(), columns)
	case n < 12:
		return fmt.Sprintf("update %s set v = %s where %s", name, nextVersion, where)
	case n < 14:
		return fmt.Sprintf("update %s set v = %s, note = %s where %s", name, nextVersion, w.note(), where)
	case n < 15 && name != "pair":
		return fmt.Sprintf("update %s set v = %s where id %% 5 = %d", name, nextVersion, w.r.IntN(5))
	case n < 18:
		return fmt.Sprintf("delete from %s where %s", name, where)
	default:
		return fmt.Sprintf("update %s set (%s, v) = row(%s, %s) where %s", name, columns, w.otherKey(name), nextVersion, where)
	}
}

// otherKey is where a row goes whose key changes.
func (w *writer) otherKey(name string) string {
	switch id := w.id(); name {
	case "pair":
		return fmt.Sprintf("%d, '%c'", id, 'a'+rune(w.r.IntN(2)))
	case "parted":
		return fmt.Sprintf("%d, %d", w.r.IntN(4), id)
	default:
		return strconv.Itoa(id)
	}
}

// exceptions is a block whose subtransactions are undone one by one.
func (w *writer) exceptions() string {
	return fmt.Sprintf(`do $$ begin
		for i in 1..%d loop
			begin
				%s;
				%s;
				if i %% 2 = %d then perform 1 / 0; end if;
				%s;
			exception when division_by_zero then
				%s;
			end;
		end loop;
	end $$`, 2+w.r.IntN(4), w.statement(), w.statement(), w.r.IntN(2), w.statement(), w.statement())
}

// signal is a logical message: an annotation, somebody else's, or one outside the transaction.
func (w *writer) signal() []string {
	if !w.messages {
		return []string{w.statement()}
	}
	switch w.r.IntN(4) {
	case 0:
		return []string{"select pg_logical_emit_message(false, 'app', 'now')"}
	case 1:
		text := fmt.Sprintf(`{"by": "%s%d"}`, w.name, w.r.IntN(100))
		return []string{
			fmt.Sprintf("select pg_logical_emit_message(true, 'sequin:transaction_annotations.set', '%s')", text),
			fmt.Sprintf("insert into book.ledger (tab, op, new) values ('', 'annotate', '%s')", text),
		}
	}
	return []string{"select pg_logical_emit_message(true, 'app', 'hello')", "insert into book.ledger (tab, op) values ('', 'message')"}
}

// ddl changes a table between changes of its rows.
func (w *writer) ddl(i int) []string {
	name := []string{"plain", "pair", "wide", "loose", "parted"}[w.r.IntN(5)]
	column := fmt.Sprintf("x%s_%d", w.name, i)
	some := func(action string) string { // on the oldest additional column, if there is one
		return fmt.Sprintf(`do $$ declare c text; begin
			select attname into c from pg_attribute where attrelid = '%[1]s'::regclass and attname like 'x%%' and not attisdropped order by attnum limit 1;
			if c is not null then execute format('alter table %[1]s %[2]s', c); end if;
		end $$`, name, action)
	}
	touch := fmt.Sprintf("update %s set v = %s", name, nextVersion)
	var steps []string
	if w.r.IntN(2) == 0 {
		steps = append(steps, touch)
	}
	switch w.r.IntN(7) {
	case 0, 1:
		steps = append(steps, fmt.Sprintf("alter table %s add column %s text default 'd%d'", name, column, i))
	case 2:
		steps = append(steps, fmt.Sprintf("alter table %s add column %s bigint", name, column), fmt.Sprintf("update %s set %s = v, v = %s", name, column, nextVersion))
	case 3, 4:
		steps = append(steps, some("drop column %I"))
	case 5:
		steps = append(steps, some("rename column %I to "+column))
	default:
		steps = append(steps, fmt.Sprintf("alter table %s alter column note type text using note || ''", name)) // rewrites the table
	}
	return append(steps, touch)
}

func (w *writer) truncate() string {
	return "truncate " + []string{"plain", "wide", "pair", "plain, wide", "pair, bulk"}[w.r.IntN(5)]
}

// bulkPlan is a transaction with many rows, part of which are undone.
func (w *writer) bulkPlan() []string {
	return []string{
		fmt.Sprintf("insert into bulk select g, %s, 'bulk' from generate_series(1, %d) g on conflict do nothing", nextVersion, w.bulk/2),
		"savepoint", fmt.Sprintf("insert into bulk select g, %s, 'gone' from generate_series(%d, %d) g", nextVersion, 10*w.bulk, 11*w.bulk), "undo",
		"savepoint", fmt.Sprintf("update bulk set v = %s where id %% 4 = 0", nextVersion), "release",
		"delete from bulk where id % 4 = 1", w.statement(),
		fmt.Sprintf("insert into bulk select g, %s, 'more' from generate_series(%d, %d) g on conflict do nothing", nextVersion, w.bulk/2+1, w.bulk*3/4), "commit",
	}
}
