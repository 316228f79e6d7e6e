package where_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/where"
	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

const rowCount = 24

// server is a table with random rows, in Postgres and as the WAL would bring them.
type server struct {
	conn    *pgx.Conn
	table   where.Table
	options where.Options
	rows    []*cdc.Change
}

var pinned = `set datestyle = iso; set intervalstyle = postgres; set timezone = 'UTC'; set bytea_output = hex; set extra_float_digits = 1; set statement_timeout = '5s';`

const probeSQL = `
create function probe(expression text) returns table (id int4, result text, failure text) language plpgsql as $$
begin
  for id in select r.id from rows r order by r.id loop
    begin
      failure := null;
      execute 'select (' || expression || E'\n)::text from rows where id = ' || id into result;
    exception when others then
      result := null; failure := sqlstate;
    end;
    return next;
  end loop;
end $$`

func newServer(t *testing.T, seed uint64) *server {
	t.Helper()
	db := pgtest.Shared(t).Database(t)
	s := &server{conn: db.Conn(t)}
	exec := func(sql string, args ...any) {
		_, err := s.conn.Exec(t.Context(), sql, args...)
		require.NoError(t, err, sql)
	}
	exec(pinned)
	exec(schemaSQL)
	exec(columnDDL())
	exec("alter table rows replica identity full")
	exec(probeSQL)
	random := rand.New(rand.NewPCG(seed, 2))
	for id := range rowCount {
		values := []string{strconv.Itoa(id)}
		for _, k := range kinds {
			for range 2 {
				if random.IntN(8) == 0 {
					values = append(values, "null")
				} else {
					values = append(values, quote(k.values[random.IntN(len(k.values))]))
				}
			}
		}
		exec("insert into rows values (" + strings.Join(values, ", ") + ")")
	}
	var oid uint32
	require.NoError(t, s.conn.QueryRow(t.Context(), "select 'rows'::regclass::oid").Scan(&oid))
	var err error
	s.table, err = catalog.WhereTable(t.Context(), s.conn, oid)
	require.NoError(t, err)
	s.options, err = catalog.WhereOptions(t.Context(), s.conn)
	require.NoError(t, err)
	s.read(t)
	return s
}

// read takes the rows as text, as the walsender sends them.
func (s *server) read(t *testing.T) {
	t.Helper()
	relation := &cdc.Relation{Schema: s.table.Schema, Name: s.table.Name, Identity: 'f'}
	for _, c := range s.table.Columns {
		relation.Columns = append(relation.Columns, cdc.Column{Name: c.Name, TypeOID: c.TypeOID})
	}
	rows, err := s.conn.Query(t.Context(), "select * from rows order by id", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		s.rows = append(s.rows, &cdc.Change{Op: cdc.OpInsert, Relation: relation, New: tuple(rows.RawValues())})
	}
	require.NoError(t, rows.Err())
	require.Len(t, s.rows, rowCount)
}

func tuple(values [][]byte) cdc.Tuple {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		if v == nil {
			b = append(b, 'n')
			continue
		}
		b = binary.BigEndian.AppendUint32(append(b, 't'), uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

// answer is what one side says of one row.
type answer struct {
	text    string
	null    bool
	failure string
}

func (a answer) String() string {
	switch {
	case a.failure != "":
		return "error " + a.failure
	case a.null:
		return "null"
	}
	return strconv.Quote(a.text)
}

// ask evaluates an expression in Postgres. A refusal is an error of the expression itself, whatever the row.
func (s *server) ask(ctx context.Context, expression string) (answers []answer, oid uint32, refusal string, err error) {
	rows, err := s.conn.Query(ctx, "select ("+expression+"\n) from rows order by id", pgx.QueryExecModeSimpleProtocol)
	var pg *pgconn.PgError
	if err != nil {
		if errors.As(err, &pg) {
			return s.failed(ctx, expression, pg)
		}
		return nil, 0, "", err
	}
	for rows.Next() {
		raw := rows.RawValues()[0]
		answers = append(answers, answer{text: string(raw), null: raw == nil})
	}
	rows.Close()
	if f := rows.FieldDescriptions(); len(f) == 1 {
		oid = f[0].DataTypeOID
	}
	switch {
	case rows.Err() == nil:
		return answers, oid, "", nil
	case !errors.As(rows.Err(), &pg):
		return nil, 0, "", rows.Err()
	}
	return s.failed(ctx, expression, pg)
}

// failed tells an expression that is wrong from one that fails for some rows.
func (s *server) failed(ctx context.Context, expression string, pg *pgconn.PgError) ([]answer, uint32, string, error) {
	if pg.Code == "57014" {
		return nil, 0, "", pg
	}
	if strings.HasPrefix(pg.Code, "42") || pg.Code == "0A000" && strings.Contains(pg.File, "parse") {
		return nil, 0, pg.Code + " " + pg.Message, nil
	}
	return s.probe(ctx, expression)
}

func (s *server) probe(ctx context.Context, expression string) (answers []answer, oid uint32, refusal string, err error) {
	rows, err := s.conn.Query(ctx, "select result, failure from probe("+quote(expression)+")", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, 0, "", err
	}
	defer rows.Close()
	failed := 0
	for rows.Next() {
		raw := rows.RawValues()
		a := answer{text: string(raw[0]), null: raw[0] == nil, failure: string(raw[1])}
		if a.failure != "" {
			failed++
		}
		answers = append(answers, a)
	}
	if failed == len(answers) && failed > 0 {
		refusal = answers[0].failure
	}
	return answers, 0, refusal, rows.Err()
}

// tally counts what was compared.
type tally struct {
	expressions, refused, rejected, values, unsupported, errors int
}

// compare evaluates an expression on both sides, and returns what differs.
func (s *server) compare(ctx context.Context, expression string, n *tally) (string, error) {
	theirs, oid, refusal, err := s.ask(ctx, expression)
	if err != nil {
		return "", err
	}
	n.expressions++
	e, compileErr := where.CompileExpression(expression, &s.table, s.options)
	if compileErr != nil {
		if problem.Code(compileErr) == where.CodeUnsupported {
			n.refused++
			return "", nil
		}
		n.rejected++
		if refusal == "" {
			return fmt.Sprintf("Postgres evaluates it, here it is refused: %v", compileErr), nil
		}
		return "", nil
	}
	if refusal != "" && theirs == nil {
		return fmt.Sprintf("Postgres refuses it (%s), here it compiles", refusal), nil
	}
	if oid != 0 && e.Type.BaseType().OID != 0 && e.Type.BaseType().OID != oid {
		return fmt.Sprintf("its type is %d in Postgres and %s here", oid, e.Type.Display()), nil
	}
	if refusal != "" && len(theirs) > 0 { // all rows fail: there may be no type to compare texts by
		oid = 0
	}
	for i, change := range s.rows {
		text, null, err := e.Text(change)
		n.values++
		switch {
		case errors.Is(err, pgvalue.ErrUnsupported):
			n.unsupported++
			continue
		case err != nil:
			n.errors++
			if theirs[i].failure == "" {
				return fmt.Sprintf("row %d: Postgres says %s, here it fails: %v", i, theirs[i], err), nil
			}
			continue
		}
		ours := answer{text: text, null: null}
		if oid == 0 && !null && (e.Type.Name == "bool") { // the probe casts to text
			ours.text = map[string]string{"t": "true", "f": "false"}[text]
		}
		if oid == 0 && !null && e.Type.Name == "bpchar" {
			ours.text = strings.TrimRight(text, " ")
		}
		if oid == 0 && !null && e.Type.Name == "inet" && !strings.Contains(text, "/") && theirs[i].failure == "" {
			theirs[i].text = strings.TrimSuffix(strings.TrimSuffix(theirs[i].text, "/32"), "/128")
		}
		if ours != theirs[i] {
			return fmt.Sprintf("row %d: Postgres says %s, here %s", i, theirs[i], ours), nil
		}
	}
	return "", nil
}

// TestDifferential compares random expressions with Postgres. SEQUIN_WHERE_SECONDS makes it longer, SEQUIN_WHERE_SEED another.
func TestDifferential(t *testing.T) {
	t.Parallel()
	seed, seconds, limit := uint64(1), 5, 1
	if v := os.Getenv("SEQUIN_WHERE_SECONDS"); v != "" {
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		seconds, seed = n, uint64(time.Now().UnixNano())
	}
	if v := os.Getenv("SEQUIN_WHERE_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	if v := os.Getenv("SEQUIN_WHERE_DIFFERENCES"); v != "" {
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		limit = n
	}
	s := newServer(t, seed)
	g := newGenerator(seed, s.options.Major)
	var n tally
	found := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		expression := g.any(1 + g.IntN(4))
		difference, err := s.compare(t.Context(), expression, &n)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "57014" { // the machine is busy, or the text is huge
			continue
		}
		require.NoError(t, err, expression)
		if difference != "" {
			t.Errorf("seed %d: %s\n%s", seed, s.minimise(t, g, expression), difference)
			if found++; found >= limit {
				break
			}
		}
	}
	t.Logf("PostgreSQL %d, seed %d: %+v", s.options.Major, seed, n)
	require.Positive(t, n.values)
}

// minimise looks for a smaller expression within the one that differs, by its parentheses.
func (s *server) minimise(t *testing.T, _ *generator, expression string) string {
	t.Helper()
	for again := true; again; {
		again = false
		for _, part := range parts(expression) {
			var n tally
			if d, err := s.compare(t.Context(), part, &n); err == nil && d != "" {
				expression, again = part, true
				break
			}
		}
	}
	return expression
}

// parts are the texts inside of parentheses, commas apart, shortest first.
func parts(s string) []string {
	var out []string
	for i := range len(s) {
		if s[i] != '(' {
			continue
		}
		depth, start := 0, i+1
		for j := i; j < len(s); j++ {
			switch s[j] {
			case '(', '[':
				depth++
			case ')', ']':
				depth--
			}
			if depth == 0 || depth == 1 && s[j] == ',' {
				if part := strings.TrimSpace(s[start:j]); part != "" && len(part) < len(s) {
					out = append(out, part)
				}
				start = j + 1
			}
			if depth == 0 {
				// with what stands before the parenthesis: a function
				k := i
				for k > 0 && (s[k-1] == '_' || s[k-1] == '"' || s[k-1] == '.' || s[k-1] >= 'a' && s[k-1] <= 'z' || s[k-1] >= '0' && s[k-1] <= '9') {
					k--
				}
				if call := s[k : j+1]; len(call) < len(s) {
					out = append(out, call)
				}
				break
			}
		}
	}
	return out
}
