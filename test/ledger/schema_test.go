package ledger_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// table is one of the application's tables. Statements name its key columns, v and note; further columns come and go.
type table struct {
	name string
	key  []string // the primary key, or what stands for one
	loose,
	full bool // no primary key; replica identity full
}

// tables are all that is published.
func tables() []table {
	return []table{
		{name: "plain", key: []string{"id"}},
		{name: "pair", key: []string{"a", "b"}},
		{name: "wide", key: []string{"id"}, full: true},
		{name: "loose", key: []string{"id"}, full: true, loose: true},
		{name: "parted", key: []string{"region", "id"}},
		{name: "bulk", key: []string{"id"}},
	}
}

func tableNamed(name string) (table, bool) {
	for _, t := range tables() {
		if t.name == name {
			return t, true
		}
	}
	return table{}, false
}

// keyOf is the key of a row as one text.
func (t table) keyOf(row map[string]any) string {
	parts := make([]string, len(t.key))
	for i, column := range t.key {
		parts[i] = fmt.Sprint(row[column])
	}
	return strings.Join(parts, "/")
}

// pks are a row's record_pks.
func (t table) pks(row map[string]any) []string {
	if t.loose {
		return []string{}
	}
	out := make([]string, len(t.key))
	for i, column := range t.key {
		out[i] = fmt.Sprint(row[column])
	}
	return out
}

// schemaSQL creates the tables. Every insert and update gives its row a version of its own. note is stored out of line when it is long. The ledger
// is not published.
const schemaSQL = `
create schema book;
create sequence version;
create table plain (id int primary key, v bigint, note text);
create table pair (a int, b text, v bigint, note text, primary key (a, b));
create table wide (id int primary key, v bigint, note text);
alter table wide replica identity full;
create table loose (id int, v bigint, note text);
alter table loose replica identity full;
create table parted (region int, id int, v bigint, note text, primary key (region, id)) partition by list (region);
create table parted_0 partition of parted for values in (0);
create table parted_1 partition of parted for values in (1);
create table parted_more partition of parted for values in (2, 3) partition by hash (id);
create table parted_more_0 partition of parted_more for values with (modulus 2, remainder 0);
create table parted_more_1 partition of parted_more for values with (modulus 2, remainder 1);
create table bulk (id int primary key, v bigint, note text);

create table book.ledger (
  id bigserial primary key, xid bigint not null default txid_current(), at timestamptz not null default statement_timestamp(),
  tab text not null, op text not null, new jsonb, old jsonb);
create function book.enter() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then insert into book.ledger (tab, op, new) values (tg_argv[0], 'insert', to_jsonb(new));
  elsif tg_op = 'UPDATE' then insert into book.ledger (tab, op, new, old) values (tg_argv[0], 'update', to_jsonb(new), to_jsonb(old));
  elsif tg_op = 'DELETE' then insert into book.ledger (tab, op, old) values (tg_argv[0], 'delete', to_jsonb(old));
  else insert into book.ledger (tab, op) values (tg_argv[0], 'truncate');
  end if;
  return null;
end $$;
create publication oracle for table book.ledger;
`

// createSchema makes tables, ledger and the publication that Sequin reads. With byRoot changes of partitions are published as the root's.
func createSchema(t *testing.T, db *pgtest.DB, publication string, byRoot bool) {
	t.Helper()
	db.Exec(t, schemaSQL)
	var names []string
	for _, table := range tables() {
		names = append(names, table.name)
		db.Exec(t, fmt.Sprintf("alter table %s alter column note set storage external", table.name))
		db.Exec(t, fmt.Sprintf("create trigger enter after insert or update or delete on %[1]s for each row execute function book.enter('%[1]s')", table.name))
		db.Exec(t, fmt.Sprintf("create trigger enter_truncate after truncate on %[1]s for each statement execute function book.enter('%[1]s')", table.name))
	}
	with := ""
	if byRoot {
		with = " with (publish_via_partition_root = true)"
	}
	db.Exec(t, fmt.Sprintf("create publication %s for table %s%s", publication, strings.Join(names, ", "), with))
}

// object reads a JSON object with every digit of its numbers.
func object(text []byte) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	err := d.Decode(&m)
	return m, err
}
