package pgoutput_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// source is a database with a publication and a slot that is read in SQL.
type source struct {
	conn              *pgx.Conn
	version           int
	slot, publication string
}

func newSource(t *testing.T, server *pgtest.Server, twoPhase bool) *source {
	t.Helper()
	db := server.Database(t)
	s := &source{conn: db.Conn(t), version: server.Version(t), slot: db.Slot(t), publication: db.Publication(t)}
	s.exec(t, "set logical_decoding_work_mem = '64kB'", 130000)
	s.exec(t, `create table t (id int primary key, v text)`, 0)
	s.exec(t, fmt.Sprintf(`create publication %s for all tables`, s.publication), 0)
	create := fmt.Sprintf(`select pg_create_logical_replication_slot('%s', 'pgoutput')`, s.slot)
	if twoPhase {
		create = fmt.Sprintf(`select pg_create_logical_replication_slot('%s', 'pgoutput', false, true)`, s.slot)
	}
	s.exec(t, create, 0)
	return s
}

// exec runs SQL on servers from the given version on.
func (s *source) exec(t *testing.T, sql string, since int) {
	t.Helper()
	if s.version < since {
		return
	}
	_, err := s.conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, "%s", sql)
}

func (s *source) read(t *testing.T, options string) [][]byte {
	t.Helper()
	sql := fmt.Sprintf(`select data from pg_logical_slot_get_binary_changes('%s', null, null, 'publication_names', '%s', %s)`,
		s.slot, s.publication, options)
	rows, err := s.conn.Query(t.Context(), sql, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	require.NoError(t, err)
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(t, err)
	return messages
}

// kinds is the kind of each message, one letter each, without repetitions in a row.
func kinds(messages [][]byte) string {
	var letters []byte
	for _, b := range messages {
		letters = append(letters, pgoutput.Kind(b))
	}
	return string(slices.Compact(letters))
}

// TestServerSendsWhatIsParsed reads every message of protocol version 1 that a server can be made to send.
func TestServerSendsWhatIsParsed(t *testing.T) {
	t.Parallel()
	s := newSource(t, pgtest.Shared(t), false)
	s.exec(t, `create type mood as enum ('ok'); create table m (id int primary key, v mood)`, 0)
	s.withOrigin(t, `
		insert into m values (1, 'ok');
		update m set id = 2;
		delete from m;
		select pg_logical_emit_message(true, 'prefix', 'content');
		truncate m, t restart identity`)
	options, want := `'proto_version', '1'`, "BOYRIUDYRTC"
	if s.version >= 140000 {
		options += `, 'messages', 'true'`
		want = "BOYRIUDMYRTC"
	}
	messages := s.read(t, options)
	s.dropOrigin(t)
	require.Equal(t, want, strings.ReplaceAll(kinds(messages), "BC", ""), "empty transactions, for DDL, aside")
	for _, b := range messages {
		m, err := parse(b)
		require.NoError(t, err, "%q", b)
		switch m := m.(type) {
		case pgoutput.Origin:
			require.Equal(t, pgoutput.Origin{CommitLSN: 0x99, Name: "origin_" + s.slot}, m)
		case pgoutput.Type:
			require.Equal(t, "mood", m.Name)
		case pgoutput.Truncate:
			require.Equal(t, 2, m.Len())
			require.True(t, m.RestartIdentity)
		case pgoutput.Message:
			require.True(t, m.Transactional)
			require.Equal(t, "prefix", m.Prefix)
			require.Equal(t, "content", string(m.Content))
		}
	}
}

// withOrigin runs SQL in a transaction that claims to come from a replication origin.
func (s *source) withOrigin(t *testing.T, sql string) {
	t.Helper()
	s.exec(t, fmt.Sprintf(`select pg_replication_origin_create('origin_%s')`, s.slot), 0)
	s.exec(t, fmt.Sprintf(`select pg_replication_origin_session_setup('origin_%s')`, s.slot), 0)
	s.exec(t, `begin; select pg_replication_origin_xact_setup('0/99', '2025-01-01');`+sql+`; commit`, 0)
	s.exec(t, `select pg_replication_origin_session_reset()`, 0)
}

func (s *source) dropOrigin(t *testing.T) {
	t.Helper()
	s.exec(t, fmt.Sprintf(`select pg_replication_origin_drop('origin_%s')`, s.slot), 0)
}

// TestEmptyMessage shows that a message can be empty: PostgreSQL 12 and 13 send nothing in place of an Origin that the transaction itself
// created, because they look for it as of the transaction's start.
func TestEmptyMessage(t *testing.T) {
	t.Parallel()
	s := newSource(t, pgtest.Shared(t), false)
	s.exec(t, fmt.Sprintf(`
		begin;
		select pg_replication_origin_create('origin_%[1]s');
		select pg_replication_origin_session_setup('origin_%[1]s');
		select pg_replication_origin_xact_setup('0/99', '2025-01-01');
		insert into t values (1);
		commit`, s.slot), 0)
	s.exec(t, `select pg_replication_origin_session_reset()`, 0)
	messages := s.read(t, `'proto_version', '1'`)
	s.dropOrigin(t)
	want := "BORIC"
	switch {
	case s.version < 140000:
		want = "B\x00RIC"
	case s.version < 150000:
		want = "BRIC"
	}
	require.Equal(t, want, strings.ReplaceAll(kinds(messages), "BC", ""), "empty transactions, for DDL, aside")
}

// big is a statement that exceeds the decoding memory, so that a server that streams begins to.
const big = `insert into t select g, repeat('x', 100) from generate_series(%d, %d) g;`

// TestServerStreamsWhatIsParsed asks for what the product never asks for, streaming and two-phase commit, to check those messages as real
// servers write them. Rows inside streams have another form and are left out.
func TestServerStreamsWhatIsParsed(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "5"}})
	version := server.Version(t)
	s := newSource(t, server, version >= 150000)
	s.exec(t, fmt.Sprintf(`begin; `+big+` savepoint a; `+big+` rollback to a; `+big+` commit`, 1, 2000, 2001, 4000, 4001, 6000), 0)
	options, want := `'proto_version', '1'`, map[byte]bool{'B': true, 'C': true}
	switch {
	case version >= 160000:
		options, want = `'proto_version', '4', 'streaming', 'parallel', 'two_phase', 'on'`, set("SEcAbPKrp")
	case version >= 150000:
		options, want = `'proto_version', '3', 'streaming', 'on', 'two_phase', 'on'`, set("SEcAbPKrp")
	case version >= 140000:
		options, want = `'proto_version', '2', 'streaming', 'on'`, set("SEcA")
	}
	s.prepare(t)
	messages := s.read(t, options)
	for _, sql := range []string{`commit prepared 'small'`, `rollback prepared 'other'`, `rollback prepared 'large'`} {
		s.exec(t, sql, 150000)
	}
	messages = append(messages, s.read(t, options)...)

	seen := map[byte]bool{}
	for _, b := range messages {
		kind := pgoutput.Kind(b)
		if !want[kind] {
			continue
		}
		m, err := parse(b)
		require.NoError(t, err, "%q", b)
		seen[kind] = true
		switch m := m.(type) {
		case pgoutput.StreamAbort:
			require.Equal(t, version >= 160000, m.HasLSN)
			require.NotZero(t, m.SubXID)
		case pgoutput.Prepare:
			require.Contains(t, []string{"small", "other", "large"}, m.GID)
			require.Less(t, m.PrepareLSN, m.EndLSN)
		case pgoutput.RollbackPrepared:
			require.Less(t, m.PrepareEndLSN, m.RollbackEndLSN)
		case pgoutput.CommitPrepared:
			require.Equal(t, "small", m.GID)
		}
	}
	require.Equal(t, want, seen)
}

// prepare leaves two small transactions and one that is streamed prepared.
func (s *source) prepare(t *testing.T) {
	t.Helper()
	s.exec(t, `begin; insert into t values (-1, ''); prepare transaction 'small'`, 150000)
	s.exec(t, `begin; insert into t values (-2, ''); prepare transaction 'other'`, 150000)
	s.exec(t, fmt.Sprintf(`begin; `+big+` prepare transaction 'large'`, 10001, 12000), 150000)
}

func set(letters string) map[byte]bool {
	m := map[byte]bool{}
	for _, c := range []byte(letters) {
		m[c] = true
	}
	return m
}
