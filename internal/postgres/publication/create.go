package publication

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/problem"
)

// Options describe a publication to create. Tables, or else Schemas, or else all tables of users.
type Options struct {
	Name    string
	Tables  []Name
	Schemas []string
	// InitSQL creates the publication as its author wants it, tables that it breaks included; it must be a CREATE PUBLICATION of that name.
	InitSQL string
}

// Created tells what a creation did.
type Created struct {
	Tables  []Name    // published
	LeftOut []LeftOut // not published, and why
	Breaks  []LeftOut // with InitSQL only: tables whose UPDATE or DELETE now fails
}

// lockTimeout bounds the wait for a table that is being altered or vacuumed. It holds up no reader or writer meanwhile.
const lockTimeout = "30s"

// Create creates a publication, or returns an error that wraps ErrExists. It must come before the slot: what a slot decodes, it decodes with the
// publications of that moment of the WAL.
func Create(ctx context.Context, conn Conn, opts Options) (Created, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return Created{}, fmt.Errorf("create publication %q: %w", opts.Name, err)
	}
	defer rollback(ctx, tx)
	created, err := create(ctx, tx, opts)
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return Created{}, creationError(opts.Name, err)
	}
	return created, nil
}

func rollback(ctx context.Context, tx pgx.Tx) {
	_ = tx.Rollback(context.WithoutCancel(ctx)) // after a commit there is nothing to roll back, else the connection is lost
}

// create works inside a transaction: the publication takes locks that keep the tables' keys as they are until the end.
func create(ctx context.Context, tx pgx.Tx, opts Options) (Created, error) {
	if _, err := tx.Exec(ctx, "set local lock_timeout = '"+lockTimeout+"'"); err != nil {
		return Created{}, err
	}
	if opts.InitSQL != "" {
		return createByHand(ctx, tx, opts)
	}
	version, err := serverVersion(ctx, tx)
	if err != nil {
		return Created{}, err
	}
	in, out, err := choose(ctx, tx, opts, version)
	if err != nil {
		return Created{}, err
	}
	if _, err := tx.Exec(ctx, createSQL(opts.Name, in, version)); err != nil {
		return Created{}, err
	}
	in, late, err := expel(ctx, tx, opts.Name, in, version)
	if err != nil {
		return Created{}, err
	}
	return Created{Tables: names(in), LeftOut: append(out, late...)}, nil
}

func createSQL(name string, tables []*table, version int) string {
	var b strings.Builder
	b.WriteString("create publication " + quoteIdent(name))
	if len(tables) > 0 {
		b.WriteString(" for table " + onlyList(tables))
	}
	if version >= 130000 {
		b.WriteString(" with (publish_via_partition_root = true)")
	}
	return b.String()
}

// Planned tells what a creation would do.
type Planned struct {
	Created
	// Publishable are the tables that their owners could publish without harm, and SQL is the statement that does.
	Publishable []Name
	SQL         string
}

// Plan tells what Create would do now, and does nothing. A table that belongs to somebody else is left out for that and, as a second entry, for
// what is wrong with it besides. Whether the role may create a publication at all is not looked at.
func Plan(ctx context.Context, conn Conn, opts Options) (Planned, error) {
	plan, err := planned(ctx, conn, opts)
	if err != nil {
		return Planned{}, fmt.Errorf("plan publication %q: %w", opts.Name, err)
	}
	return plan, nil
}

func planned(ctx context.Context, conn Conn, opts Options) (Planned, error) {
	version, err := serverVersion(ctx, conn)
	if err != nil {
		return Planned{}, err
	}
	all, err := asked(ctx, conn, opts, version)
	if err != nil {
		return Planned{}, err
	}
	in, out, err := sift(ctx, conn, all, version)
	if err != nil {
		return Planned{}, err
	}
	plan := Planned{Created: Created{Tables: names(in), LeftOut: out}}
	foreign := map[Name]bool{}
	for _, t := range all {
		foreign[t.Name] = !t.owned
		t.owned = true
	}
	publishable, out, err := sift(ctx, conn, all, version)
	if err != nil {
		return Planned{}, err
	}
	for _, l := range out {
		if foreign[l.Name] && l.Reason != NotPublishable {
			plan.LeftOut = append(plan.LeftOut, l)
		}
	}
	plan.Publishable, plan.SQL = names(publishable), createSQL(opts.Name, publishable, version)
	return plan, nil
}

func names(tables []*table) []Name {
	var list []Name
	for _, t := range tables {
		list = append(list, t.Name)
	}
	return list
}

// choose sorts the tables asked for into those that can be published and those that cannot.
func choose(ctx context.Context, conn Conn, opts Options, version int) (in []*table, out []LeftOut, err error) {
	all, err := asked(ctx, conn, opts, version)
	if err != nil {
		return nil, nil, err
	}
	return sift(ctx, conn, all, version)
}

// asked are the tables that a publication is to hold, if they can be published.
func asked(ctx context.Context, conn Conn, opts Options, version int) ([]*table, error) {
	if len(opts.Tables) > 0 {
		return explicit(ctx, conn, opts.Tables, version)
	}
	return everything(ctx, conn, opts.Schemas, version)
}

func sift(ctx context.Context, conn Conn, tables []*table, version int) (in []*table, out []LeftOut, err error) {
	var partitioned []uint32
	for _, t := range tables {
		if t.kind == "p" {
			partitioned = append(partitioned, t.oid)
		}
	}
	leaves, err := leavesOf(ctx, conn, partitioned)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		if l := t.judge(leaves[t.oid], version); l != nil {
			out = append(out, *l)
		} else {
			in = append(in, t)
		}
	}
	return in, out, nil
}

// everything returns the tables of users. From 13 on a partitioned table stands for its partitions; 12 can only publish those one by one.
func everything(ctx context.Context, conn Conn, schemas []string, version int) ([]*table, error) {
	all, err := queryTables(ctx, conn, candidates, schemas)
	if err != nil {
		return nil, err
	}
	var kept []*table
	for _, t := range all {
		switch {
		case version < 130000 && t.kind == "p", version >= 130000 && t.partition:
		case version >= 140000 && t.Name == messagesTable():
		default:
			kept = append(kept, t)
		}
	}
	return kept, nil
}

// messagesTable carries heartbeats where pgoutput has no logical messages, and only there.
func messagesTable() Name { return Name{"public", "sequin_logical_messages"} }

// explicit returns the tables asked for by name; on 12 the partitions of a partitioned one.
func explicit(ctx context.Context, conn Conn, names []Name, version int) ([]*table, error) {
	found, err := tablesNamed(ctx, conn, names)
	if err != nil {
		return nil, err
	}
	known := map[Name]bool{}
	var all []*table
	for _, t := range found {
		known[t.Name] = true
		if t.kind != "p" || version >= 130000 {
			all = append(all, t)
			continue
		}
		leaves, err := leavesOf(ctx, conn, []uint32{t.oid})
		if err != nil {
			return nil, err
		}
		all = append(all, leaves[t.oid]...)
	}
	var missing []string
	for _, n := range names {
		if !known[n] {
			missing = append(missing, n.String())
		}
	}
	if len(missing) > 0 {
		return nil, problem.New("table_not_found", "the database has no table %s", strings.Join(missing, ", ")).
			WithHint("correct the names, schema included, or create the tables")
	}
	return all, nil
}

// expel looks again now that the publication holds its locks, and takes out what lost its key in between.
func expel(ctx context.Context, tx Conn, name string, in []*table, version int) ([]*table, []LeftOut, error) {
	if len(in) == 0 {
		return nil, nil, nil
	}
	now, err := tablesNamed(ctx, tx, names(in))
	if err != nil {
		return nil, nil, err
	}
	kept, out, err := sift(ctx, tx, now, version)
	if err != nil || len(out) == 0 {
		return kept, nil, err
	}
	for _, l := range out {
		if _, err := tx.Exec(ctx, fmt.Sprintf("alter publication %s drop table only %s", quoteIdent(name), l.Name)); err != nil {
			return nil, nil, err
		}
	}
	return kept, out, nil
}

var initPattern = regexp.MustCompile(`(?i)^\s*create\s+publication\s+("(?:[^"]|"")+"|[a-z_\x80-\x{10FFFF}][\w$\x80-\x{10FFFF}]*)`)

// CheckInitSQL reports whether sql is a CREATE PUBLICATION of the given name, which is what a custom init_sql must be.
func CheckInitSQL(sql, name string) error {
	match := initPattern.FindStringSubmatch(sql)
	if match != nil {
		got := strings.ToLower(match[1])
		if strings.HasPrefix(match[1], `"`) {
			got = strings.ReplaceAll(match[1][1:len(match[1])-1], `""`, `"`)
		}
		if got == name {
			return nil
		}
	}
	return problem.New("init_sql_invalid", "init_sql does not create publication %q", name).
		WithHint("begin it with: create publication %s", quoteIdent(name))
}

func createByHand(ctx context.Context, tx pgx.Tx, opts Options) (Created, error) {
	if err := CheckInitSQL(opts.InitSQL, opts.Name); err != nil {
		return Created{}, err
	}
	// The extended protocol takes one statement only, so nothing else can hide behind the first.
	if err := tx.Conn().PgConn().ExecParams(ctx, opts.InitSQL, nil, nil, nil, nil).Read().Err; err != nil {
		return Created{}, err
	}
	p, err := inspect(ctx, tx, opts.Name)
	if err != nil {
		return Created{}, err
	}
	created := Created{Breaks: p.Breaks}
	for _, t := range p.Tables {
		created.Tables = append(created.Tables, t.Name)
	}
	return created, nil
}

func creationError(name string, err error) error {
	if _, ok := problem.As(err); ok {
		return err
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("create publication %q: %w", name, err)
	}
	err = classify(err)
	switch pg.Code {
	case "42710", "23505":
		return problem.New("publication_exists", "publication %q exists already", name).Because(err).
			WithHint("use it as it is, or choose another name with publication.name")
	case "42501":
		return problem.New("publication_privilege_missing", "the user may not create publication %q", name).Because(err).WithDetail("%s", pg.Message).
			WithHint("GRANT CREATE ON DATABASE … TO …, or have it created by the owner of the tables")
	case "55P03":
		return problem.New("publication_lock_timeout", "publication %q could not be created within %s", name, lockTimeout).Because(err).
			WithDetail("a table is locked: %s", pg.Message).
			WithHint("wait until the VACUUM, ANALYZE, CREATE INDEX or ALTER TABLE that runs on it has ended")
	case "42601":
		return problem.New("init_sql_invalid", "init_sql of publication %q is not valid", name).Because(err).WithDetail("%s", pg.Message).
			WithHint("correct it; it must be one single statement")
	}
	return fmt.Errorf("create publication %q: %w", name, err)
}
