package eventtable

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// DDL is what makes an event table. A partitioned one is partitioned by the time of the commit, and gets its partitions from whoever looks after it.
func DDL(name Name, partitioned bool) string {
	id, tail, more := "id bigserial primary key", "", ",\n  unique ("+keyColumns+")"
	if partitioned {
		id, tail, more = "id bigserial", " partition by range (committed_at)", ",\n  primary key (id, committed_at)"+more
	}
	table := name.quoted()
	index := func(column string) string {
		return ";\ncreate index on " + table + " (" + column + ")"
	}
	return "create table " + table + " (\n  " + strings.Join([]string{
		id,
		"seq bigint not null",
		"source_database_id uuid not null",
		"source_table_oid bigint not null",
		"source_table_schema text not null",
		"source_table_name text not null",
		"record_pk text not null",
		"record jsonb not null",
		"changes jsonb",
		"action text not null",
		"transaction_annotations jsonb",
		"committed_at timestamptz not null",
		"inserted_at timestamptz not null default now()" + more,
	}, ",\n  ") + "\n)" + tail + index("seq") + index("source_table_oid") + index("committed_at") +
		";\ncomment on table " + table + " is '$sequin-events$'"
}

// Quote is a name as SQL has it.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }
