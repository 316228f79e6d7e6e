package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/control"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/where"
)

// sourceLook looks at source databases with connections of its own, which end with each look.
type sourceLook struct{}

// Check makes the checks of a start.
func (l sourceLook) Check(ctx context.Context, db *resource.Database) error {
	return l.check(ctx, db, func() int32 { return 0 })
}

// check makes the checks of a start; ours is the backend of our own stream from the slot, 0 for none.
func (l sourceLook) check(ctx context.Context, db *resource.Database, ours func() int32) error {
	return l.with(ctx, db, func(conn *pgx.Conn, source postgres.Config) error {
		for {
			o := postgres.PreflightOptions{
				Config: source, Slot: db.Slot.Name, Publication: db.Publication.Name,
				CreateSlot: db.Slot.CreateIfNotExists, CreatePublication: db.Publication.CreateIfNotExists, OwnPID: ours(),
			}
			report, err := postgres.Preflight(ctx, conn, o)
			if err != nil {
				return err
			}
			// Our stream may have begun meanwhile.
			if err = report.Err(); problem.Code(err) != "slot_in_use" || ours() == o.OwnPID {
				return err
			}
		}
	})
}

// Tables lists the tables, and whether the publication covers them.
func (l sourceLook) Tables(ctx context.Context, db *resource.Database) ([]control.Table, error) {
	var all []control.Table
	err := l.with(ctx, db, func(conn *pgx.Conn, _ postgres.Config) error {
		tables, err := catalog.Tables(ctx, conn)
		if err != nil {
			return err
		}
		published, there, err := publishedOIDs(ctx, conn, db)
		if err != nil {
			return err
		}
		for i := range tables {
			t := &tables[i]
			one := control.Table{Name: resource.TableName{Schema: t.Schema, Name: t.Name}, Published: !there || published[t.OID] || published[t.Root], Partition: t.Root != 0}
			for _, c := range t.Columns {
				one.Columns = append(one.Columns, c.Name)
			}
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

// CheckConditions compiles conditions for the tables as they are now.
func (l sourceLook) CheckConditions(ctx context.Context, db *resource.Database, asks []control.Condition) ([]control.Verdict, error) {
	verdicts := make([]control.Verdict, len(asks))
	err := l.with(ctx, db, func(conn *pgx.Conn, _ postgres.Config) error {
		o, err := catalog.WhereOptions(ctx, conn)
		if err != nil {
			return err
		}
		tables := map[resource.TableName]where.Table{}
		for i := range asks {
			ask := &asks[i]
			table, known := tables[ask.Table]
			if !known {
				if table, err = whereTable(ctx, conn, ask.Table); err != nil {
					return err
				}
				tables[ask.Table] = table
			}
			verdicts[i] = checkCondition(ask, table, o)
		}
		return nil
	})
	return verdicts, err
}

func checkCondition(ask *control.Condition, table where.Table, o where.Options) control.Verdict {
	for _, a := range ask.Actions {
		o.Insert = o.Insert || a == resource.ActionInsert
		o.Update = o.Update || a == resource.ActionUpdate
		o.Delete = o.Delete || a == resource.ActionDelete
	}
	_, warnings, err := where.Compile(ask.Text, table, o)
	v := control.Verdict{Err: err}
	for _, w := range warnings {
		text := w.Message
		if w.Hint != "" {
			text += " (" + w.Hint + ")"
		}
		v.Warnings = append(v.Warnings, text)
	}
	return v
}

// whereTable reads what conditions must know of a table.
func whereTable(ctx context.Context, conn *pgx.Conn, name resource.TableName) (where.Table, error) {
	var oid uint32
	const query = "select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2"
	if err := conn.QueryRow(ctx, query, name.Schema, name.Name).Scan(&oid); err != nil {
		return where.Table{}, fmt.Errorf("look up table %s: %w", name, err)
	}
	return catalog.WhereTable(ctx, conn, oid)
}

// CheckEnrichment has the database that a sink's enrichment asks read its query, for the one table of the sink's source.
func (l sourceLook) CheckEnrichment(ctx context.Context, set *resource.Set, sk *resource.Sink) error {
	f, ok := set.Function(sk.Enrichment)
	db, there := set.Database(sk.Database)
	if !ok || !there || len(sk.Source.IncludeTables) != 1 {
		return nil
	}
	var rel *cdc.Relation
	err := l.with(ctx, db, func(conn *pgx.Conn, _ postgres.Config) error {
		tables, err := catalog.Tables(ctx, conn)
		for i := range tables {
			if t := &tables[i]; t.Schema == sk.Source.IncludeTables[0].Schema && t.Name == sk.Source.IncludeTables[0].Name {
				rel = keyRelation(t)
			}
		}
		return err
	})
	if err != nil || rel == nil {
		return err
	}
	q, err := enrichmentOf(askedDatabase(set, db, f), f, *sk, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer q.Close() //nolint:contextcheck // a farewell does not depend on the question
	return q.Check(ctx, rel)
}

// keyRelation is a table as far as its primary key goes.
func keyRelation(t *catalog.Table) *cdc.Relation {
	rel := &cdc.Relation{OID: t.OID, Schema: t.Schema, Name: t.Name}
	for i, c := range t.Columns {
		rel.Columns = append(rel.Columns, cdc.Column{Name: c.Name, AttNum: c.AttNum, TypeOID: c.TypeOID})
		if slices.Contains(t.PrimaryKey, c.Name) {
			rel.PrimaryKey = append(rel.PrimaryKey, i)
		}
	}
	return rel
}

// publishedOIDs are the tables in the publication; there is false when it is yet to be created.
func publishedOIDs(ctx context.Context, conn *pgx.Conn, db *resource.Database) (oids map[uint32]bool, there bool, err error) {
	p, err := publication.Inspect(ctx, conn, db.Publication.Name)
	if errors.Is(err, publication.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	oids = map[uint32]bool{}
	for i := range p.Tables {
		oids[p.Tables[i].OID] = true
	}
	return oids, true, nil
}

// Effects tells what a start would create.
func (l sourceLook) Effects(ctx context.Context, db *resource.Database) ([]string, error) {
	var effects []string
	err := l.with(ctx, db, func(conn *pgx.Conn, _ postgres.Config) error {
		if db.Publication.CreateIfNotExists {
			if _, err := publication.Inspect(ctx, conn, db.Publication.Name); errors.Is(err, publication.ErrNotFound) {
				effects = append(effects, "Ensure publication `"+db.Publication.Name+"` exists")
			}
		}
		if db.Slot.CreateIfNotExists {
			if _, err := slot.Inspect(ctx, conn, db.Slot.Name); errors.Is(err, slot.ErrNotFound) {
				effects = append(effects, "Ensure replication slot `"+db.Slot.Name+"` exists")
			}
		}
		return nil
	})
	return effects, err
}

// with connects, and ends the connection afterwards.
func (sourceLook) with(ctx context.Context, db *resource.Database, f func(conn *pgx.Conn, source postgres.Config) error) error {
	source, err := Source(*db)
	if err != nil {
		return err
	}
	conn, err := source.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the answer is in; a failed farewell is nothing
	return f(conn, source)
}
