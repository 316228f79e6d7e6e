package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/capture"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
	"github.com/sequinstream/sequin/internal/postgres/replication"
)

// wal is what a real walsender sends of a database, with the relations that capture makes of it.
type wal struct {
	db        *pgtest.DB
	slot, pub string
	source    postgres.Config
	catalog   *capture.Catalog
	relations map[uint32]*cdc.Relation
	xid       uint32
}

// walRow is a row as a change brought it.
type walRow struct {
	relation *cdc.Relation
	row      cdc.Tuple
	xid      uint32
	op       cdc.Op
}

// newWAL makes a publication and a slot; what is published comes behind "create publication p".
func newWAL(t *testing.T, db *pgtest.DB, published string) *wal {
	t.Helper()
	w := &wal{db: db, slot: db.Slot(t), pub: db.Publication(t), relations: map[uint32]*cdc.Relation{}}
	var err error
	w.source, err = postgres.ParseURL(db.URL)
	require.NoError(t, err)
	w.catalog = capture.NewCatalog(w.source, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { w.catalog.Close(context.WithoutCancel(t.Context())) })
	db.Exec(t, "create table the_end (id int primary key)")
	db.Exec(t, "create publication "+w.pub+" "+published)
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", w.slot)
	return w
}

// collector gathers rows until the_end changes.
type collector struct {
	w    *wal
	ctx  context.Context //nolint:containedctx // of the one call that it serves
	stop context.CancelFunc
	rows []walRow
	end  atomic.Uint64
	over bool
}

func (c *collector) TooBig(byte, uint32, int) error { return errors.New("too big") }
func (c *collector) Keepalive(cdc.LSN, bool)        {}
func (c *collector) Drained()                       {}

func (c *collector) Data(msg []byte) error {
	keep := func(op cdc.Op, oid uint32, row cdc.Tuple) {
		rel := c.w.relations[oid]
		c.over = c.over || rel.Name == "the_end"
		if rel.Name != "the_end" {
			c.rows = append(c.rows, walRow{rel, append(cdc.Tuple(nil), row...), c.w.xid, op})
		}
	}
	switch pgoutput.Kind(msg) {
	case pgoutput.KindBegin:
		m, err := pgoutput.ParseBegin(msg)
		c.w.xid = m.XID
		return err
	case pgoutput.KindRelation:
		m, err := pgoutput.ParseRelation(msg)
		if err != nil {
			return err
		}
		c.w.relations[m.OID], err = c.w.catalog.Relation(c.ctx, m)
		return err
	case pgoutput.KindInsert:
		m, err := pgoutput.ParseInsert(msg)
		keep(cdc.OpInsert, m.RelationID, m.New)
		return err
	case pgoutput.KindUpdate:
		m, err := pgoutput.ParseUpdate(msg)
		keep(cdc.OpUpdate, m.RelationID, m.New)
		return err
	case pgoutput.KindDelete:
		m, err := pgoutput.ParseDelete(msg)
		keep(cdc.OpDelete, m.RelationID, m.Old)
		return err
	case pgoutput.KindCommit:
		m, err := pgoutput.ParseCommit(msg)
		c.end.Store(uint64(m.EndLSN))
		if c.over {
			c.stop()
		}
		return err
	}
	return nil
}

// read returns what has changed since the last call, through a walsender of its own.
func (w *wal) read(t *testing.T) []walRow {
	t.Helper()
	w.db.Exec(t, "insert into the_end select coalesce(max(id), 0) + 1 from the_end")
	conn, err := w.source.ConnectReplication(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &collector{w: w, ctx: t.Context(), stop: cancel}
	err = replication.Stream(ctx, conn, replication.Options{
		Slot: w.slot, Publications: []string{w.pub}, Confirmed: func() cdc.LSN { return cdc.LSN(c.end.Load()) }, Logger: slog.New(slog.DiscardHandler),
	}, c)
	require.NoError(t, err)
	require.True(t, c.over)
	return c.rows
}

// pages reads everything in pages of so many rows.
func pages(t *testing.T, r *backfill.Reader, limit int) []*backfill.Page {
	t.Helper()
	var all []*backfill.Page
	at := backfill.Cursor{}
	for range 100_000 {
		p, err := r.Page(t.Context(), at, limit)
		require.NoError(t, err)
		all = append(all, p)
		if p.Done {
			return all
		}
		at = p.Next
	}
	t.Fatal("it does not end")
	return nil
}

// sameAsWAL compares what is read of a table, row by row and byte by byte, with what the WAL said when the rows were inserted.
func (w *wal) sameAsWAL(t *testing.T, table string, inserted []walRow) {
	t.Helper()
	want := map[string][]cdc.Tuple{}
	relations := map[string]*cdc.Relation{}
	part := func(rel *cdc.Relation) string { return rel.PartitionName }
	total := 0
	for _, row := range inserted {
		if row.relation.Name == table {
			want[part(row.relation)] = append(want[part(row.relation)], row.row)
			relations[part(row.relation)] = row.relation
			total++
		}
	}
	require.NotZero(t, total, "%s is published", table)
	got := map[string][]cdc.Tuple{}
	for _, p := range pages(t, open(t, w.db, backfill.Spec{Table: table, Publication: w.pub}), 3) {
		require.NotEmpty(t, p.Relation.Columns)
		if len(p.Rows) > 0 {
			require.Equal(t, relations[part(p.Relation)], p.Relation, "the relation of %s", table)
		}
		got[part(p.Relation)] = append(got[part(p.Relation)], p.Rows...)
	}
	for name, rows := range want {
		require.ElementsMatch(t, texts(rows), texts(got[name]), "%s %s", table, name)
		delete(got, name)
	}
	for name, rows := range got {
		require.Empty(t, rows, "%s %s", table, name)
	}
}

func texts(rows []cdc.Tuple) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = string(row)
	}
	return out
}

// Edge values of every type read the same through a backfill and through the WAL.
func TestEveryTypeReadsAsInTheWAL(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	w := newWAL(t, db, "for all tables")
	db.Exec(t, cdctest.OwnTypes)
	version := db.Server.Version(t)
	var tables []string
	for i, c := range cdctest.EveryType {
		if version < c.Since {
			continue
		}
		table := fmt.Sprintf("t%d", i)
		tables = append(tables, table)
		db.Exec(t, fmt.Sprintf("create table %s (id int generated always as identity primary key, v %s)", table, c.Type))
		for j := 0; j < len(c.Values); j += 2 {
			db.Exec(t, fmt.Sprintf("insert into %s (v) values (%s)", table, c.Values[j]))
		}
		db.Exec(t, fmt.Sprintf("insert into %s (v) values (null)", table))
	}
	inserted := w.read(t)
	for _, table := range tables {
		w.sameAsWAL(t, table, inserted)
	}
}

// Whatever settings a role has, values are printed as the WAL has them.
func TestSettingsOfTheRole(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	for _, setting := range []string{
		"datestyle = 'german'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kolkata'", "bytea_output = 'escape'", "extra_float_digits = -5",
		"search_path = 'pg_catalog'", "default_transaction_read_only = on", "statement_timeout = '20s'", "row_security = on", "standard_conforming_strings = off",
	} {
		db.Exec(t, "alter database "+db.Name+" set "+setting)
	}
	db.Exec(t, "set default_transaction_read_only = off")
	w := newWAL(t, db, "for all tables")
	db.Exec(t, `create table public.t (id int primary key, d date, i interval, z timestamptz, b bytea, f float8, r regclass);
		insert into public.t values (1, '2025-01-02', '1 day 02:00', '2025-01-02 03:04:05+00', '\x00ff', 0.1::float8 + 0.2, 'public.t')`)
	w.sameAsWAL(t, "t", w.read(t))
}

// The relation and the rows are those of the WAL however the table is published.
func TestRelationsAreThoseOfTheWAL(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	const ddl = `
		create type mood as enum ('sad', 'ok'); create domain positive as int check (value > 0);
		create table plain (id int primary key, gone int, v text, doubled int generated always as (id * 2) stored, m mood, p positive, n numeric(6, 2)[]);
		alter table plain drop column gone;
		create table composite (b int, v text, a int, primary key (a, b) include (v)); alter table composite add column late int default 7;
		create table whole (a int, b text); alter table whole replica identity full;
		create table indexed (a int not null, b text not null, c int); create unique index indexed_b on indexed (b); alter table indexed replica identity using index indexed_b;
		create table nothing (a int primary key, b text); alter table nothing replica identity nothing;
		create table keyless (a int, b text);
		create table deferred (a int primary key deferrable, b text);
		create table "Odd ""Name" ("Key" int primary key, "select" text);
		create table parent (id int primary key, v text); create table child (primary key (id)) inherits (parent);
		create table parts (id int, region text, v text, primary key (region, id)) partition by list (region);
		create table parts_eu partition of parts for values in ('eu');
		create table parts_us (v text, gone int, id int not null, region text not null); alter table parts_us drop column gone; alter table parts attach partition parts_us for values in ('us');
		create table parts_more partition of parts default partition by range (id);
		create table parts_low partition of parts_more for values from (0) to (10); create table parts_high partition of parts_more for values from (10) to (100);
		create table loose (a int, b text) partition by hash (a);
		create table loose_0 partition of loose for values with (modulus 2, remainder 0); create table loose_1 partition of loose for values with (modulus 2, remainder 1);`
	const rows = `
		insert into plain (id, v, m, p, n) select i, 'v' || i, 'ok', i, array[i, null] from generate_series(1, 7) i;
		insert into composite (a, b, v) select i % 3, i, 'v' from generate_series(1, 7) i;
		insert into whole select i, 'v' from generate_series(1, 7) i; insert into indexed select i, 'v' || i from generate_series(1, 7) i;
		insert into nothing values (1, 'x'); insert into keyless select i, 'v' from generate_series(1, 7) i; insert into deferred values (1, 'x'), (2, 'y');
		insert into "Odd ""Name" values (1, 'x'); insert into parent values (1, 'p'); insert into child values (2, 'c');
		insert into parts select i, (array['eu', 'us', 'asia'])[1 + i % 3], 'v' || i from generate_series(1, 30) i;
		insert into loose select i, 'v' from generate_series(1, 20) i;`
	kinds := map[string]struct {
		published string
		since     int
		tables    []string
	}{
		"all":        {"for all tables", 0, nil},
		"via root":   {"for all tables with (publish_via_partition_root = true)", 130000, nil},
		"named":      {"for table plain, parts, loose, the_end with (publish_via_partition_root = true)", 130000, []string{"plain", "parts", "loose"}},
		"leaves":     {"for table only parts_eu, only parts_low, the_end", 0, []string{"parts"}},
		"sub root":   {"for table parts_more, parts_us, the_end with (publish_via_partition_root = true)", 130000, []string{"parts"}},
		"columns":    {"for table plain (m, id), composite (a, b), parts (v, region, id), the_end with (publish_via_partition_root = true)", 150000, []string{"plain", "composite", "parts"}},
		"each leaf":  {"for table parts_eu (id, region), parts_us, the_end", 150000, []string{"parts"}},
		"filter":     {"for table plain where (id > 3), parts_eu where (id > 10), parts_us, the_end", 150000, []string{"plain", "parts"}},
		"schema":     {"for tables in schema public", 150000, nil},
		"generated":  {"for all tables with (publish_generated_columns = stored)", 180000, nil},
		"gen listed": {"for table plain (id, doubled), the_end", 180000, []string{"plain"}},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if server.Version(t) < kind.since {
				return // the server has no such publications
			}
			db := server.Database(t)
			db.Exec(t, ddl)
			w := newWAL(t, db, kind.published)
			db.Exec(t, rows)
			if kind.tables == nil {
				kind.tables = []string{"plain", "composite", "whole", "indexed", "nothing", "keyless", "deferred", `Odd "Name`, "parent", "child", "parts", "loose"}
			}
			inserted := w.read(t)
			for _, table := range kind.tables {
				w.sameAsWAL(t, table, inserted)
			}
		})
	}
}
