// Command wherecatalog writes what conditions need of Postgres' own catalog: types, casts, operators, functions and key words of every
// supported major version, each with the versions that have it.
//
//	go run ./scripts/wherecatalog internal/where/pgcatalog/catalog.txt
//
// The servers must be there: make pg-all.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

// queries give lines without versions, one query for each kind of line. Internal and "any" pseudo-types that no expression has are left out.
var queries = []string{
	`select concat_ws(' ', 'T', t.oid, t.typname, replace(t.typcategory::text, ' ', '-'), t.typispreferred, t.typtype, coalesce(e.typname, '-'), coalesce(a.typname, '-'), t.typcollation <> 0)
	from pg_type t left join pg_type e on e.oid = t.typelem and e.typarray <> t.oid left join pg_type a on a.oid = t.typarray
	where t.typnamespace = 'pg_catalog'::regnamespace and t.oid < 10000
	and (t.typtype in ('b', 'r', 'm') or t.typname ~ '^any' or t.typname = 'unknown')
	and not exists (select from pg_type e where e.typarray = t.oid)`,
	`select concat_ws(' ', 'R', r.typname, s.typname, '-') from pg_range x join pg_type r on r.oid = x.rngtypid join pg_type s on s.oid = x.rngsubtype where r.oid < 10000`,
	`select concat_ws(' ', 'C', s.typname, t.typname, c.castmethod, c.castcontext, coalesce(replace(p.prosrc, ' ', '_'), '-'), coalesce(p.provolatile::text, '-'))
	from pg_cast c join pg_type s on s.oid = c.castsource join pg_type t on t.oid = c.casttarget left join pg_proc p on p.oid = c.castfunc
	where c.oid < 16384`,
	`select concat_ws(' ', 'O', o.oprname, coalesce(l.typname, '-'), coalesce(r.typname, '-'), t.typname,
		case when p.prolang = 14 then 'sql:' || p.proname else p.prosrc end, case when p.proisstrict then 's' else '-' end, p.provolatile)
	from pg_operator o left join pg_type l on l.oid = o.oprleft left join pg_type r on r.oid = o.oprright
	join pg_type t on t.oid = o.oprresult join pg_proc p on p.oid = o.oprcode
	where o.oid < 16384 and o.oprkind <> 'r'`,
	`select concat_ws(' ', 'P', p.proname, coalesce(nullif((select string_agg(a.typname, ',' order by x.n) from unnest(p.proargtypes) with ordinality x (oid, n) join pg_type a on a.oid = x.oid), ''), '-'),
		t.typname, case when l.lanname = 'sql' then 'sql:' || p.proname else replace(p.prosrc, ' ', '_') end,
		case when p.proisstrict then 's' else '-' end, p.provolatile, case when p.provariadic <> 0 then 'v' else '-' end, p.pronargdefaults,
		case when p.proretset then 'r' else '-' end)
	from pg_proc p join pg_type t on t.oid = p.prorettype join pg_language l on l.oid = p.prolang
	where p.pronamespace = 'pg_catalog'::regnamespace and p.oid < 16384 and p.prokind = 'f' and p.proname !~ '^(pg_|has_|ri_|brin_|gin|gist|spg_|hash|binary_upgrade|ts_|ts[vq]|.*(send|recv|_in|_out|in|out|sel|joinsel|_support|typmodin|typmodout)$)'
	and not exists (select from unnest(array_append(p.proargtypes::oid[], p.prorettype)) x (oid) join pg_type y on y.oid = x.oid
		where y.typname in ('internal', 'cstring', 'trigger', 'event_trigger', 'language_handler', 'fdw_handler', 'index_am_handler', 'tsm_handler', 'table_am_handler', 'void'))`,
	`select distinct concat_ws(' ', 'A', p.proname, p.prokind) from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.oid < 16384 and p.prokind in ('a', 'w')`,
	`select concat_ws(' ', 'K', word, catcode) from pg_get_keywords()`,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: wherecatalog <file>")
	}
	versions := map[string][2]int{}
	for _, major := range throwaway.Supported {
		if err := read(ctx, major, versions); err != nil {
			return fmt.Errorf("PostgreSQL %d: %w", major, err)
		}
	}
	return write(args[0], versions)
}

func read(ctx context.Context, major int, versions map[string][2]int) (err error) {
	cluster, err := throwaway.Start(ctx, throwaway.Options{Major: major})
	if err != nil {
		return err
	}
	defer func() {
		if e := cluster.Remove(context.WithoutCancel(ctx)); err == nil {
			err = e
		}
	}()
	conn, err := pgx.Connect(ctx, cluster.SocketURL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	found, err := lines(ctx, conn)
	for _, line := range found {
		v, seen := versions[line]
		if !seen {
			v[0] = major
		}
		v[1] = major
		versions[line] = v
	}
	return err
}

// lines are what one server knows.
func lines(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	var all []string
	for _, query := range queries {
		rows, err := conn.Query(ctx, query)
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func write(path string, versions map[string][2]int) error {
	sorted := make([]string, 0, len(versions))
	first, last := throwaway.Supported[0], throwaway.Supported[len(throwaway.Supported)-1]
	for line, v := range versions {
		span := ""
		if v != [2]int{first, last} {
			span = fmt.Sprintf(" @%d-%d", v[0], v[1])
		}
		sorted = append(sorted, line+span)
	}
	slices.Sort(sorted)
	file, err := os.Create(path) //nolint:gosec // the path is the argument of whoever runs this
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	fmt.Fprintln(w, "# Written by scripts/wherecatalog from the servers' catalogs. Do not edit.")
	fmt.Fprintln(w, strings.Join(sorted, "\n"))
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Close()
}
