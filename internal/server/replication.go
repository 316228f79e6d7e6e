package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/postgres/slot"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Connect tries to reach a database, and tells what would keep changes from flowing once that has worked.
func (o overview) Connect(ctx context.Context, db *resource.Database) (lacks []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	err = sourceLook{}.with(ctx, db, func(conn *pgx.Conn, source postgres.Config) error {
		report, err := postgres.Preflight(ctx, conn, postgres.PreflightOptions{
			Config: source, Slot: db.Slot.Name, Publication: db.Publication.Name, OwnPID: o.backend(db.ID),
			CreateSlot: db.Slot.CreateIfNotExists, CreatePublication: db.Publication.CreateIfNotExists,
		})
		if err != nil {
			return err
		}
		for _, item := range report.Items {
			if item.Status == postgres.StatusFail {
				lacks = append(lacks, item.Problem.Error()+"; "+item.Problem.Hint)
			}
		}
		return nil
	})
	return lacks, sourceError(err)
}

// Schemas lists the schemas of a database.
func (o overview) Schemas(ctx context.Context, db *resource.Database) (names []string, err error) {
	return o.names(ctx, db, catalog.Schemas)
}

// TableNames lists the tables of a schema.
func (o overview) TableNames(ctx context.Context, db *resource.Database, schema string) ([]string, error) {
	return o.names(ctx, db, func(ctx context.Context, conn catalog.Querier) ([]string, error) {
		return catalog.TableNames(ctx, conn, schema)
	})
}

func (o overview) names(ctx context.Context, db *resource.Database, list func(context.Context, catalog.Querier) ([]string, error)) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	err = sourceLook{}.with(ctx, db, func(conn *pgx.Conn, source postgres.Config) error {
		names, err = list(ctx, conn)
		return source.Explain(err)
	})
	return names, sourceError(err)
}

// setupTime bounds the creation of a publication and a slot, which waits for transactions that are open. It ends before the request does, so
// that there is time to call the creation off and to say what it waited for.
const setupTime = 40 * time.Second

// SetUpReplication creates the publication and the slot that a database names, as far as they are missing, the publication first: WAL is decoded
// with the publications of its time. What is there stays as it is.
func (o overview) SetUpReplication(ctx context.Context, db *resource.Database, tables []resource.TableName) (api.ReplicationSetup, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	s := setup{db: db, ours: o.backend(db.ID), out: api.ReplicationSetup{Tables: []resource.TableName{}, LeftOut: []api.LeftOutTable{}}}
	for _, t := range tables {
		s.tables = append(s.tables, publication.Name{Schema: t.Schema, Table: t.Name})
	}
	err := sourceLook{}.with(ctx, db, func(conn *pgx.Conn, source postgres.Config) error {
		if err := s.checkSlot(ctx, conn); err != nil {
			return source.Explain(err)
		}
		if err := s.publish(ctx, conn); err != nil {
			return source.Explain(err)
		}
		if err := s.createSlot(ctx, source); err != nil {
			return source.Explain(err)
		}
		return nil
	})
	return s.out, sourceError(s.explained(err))
}

// setup is one run of it.
type setup struct {
	db     *resource.Database
	tables []publication.Name // "none" stands for all that can be published
	ours   int32              // the backend of our own stream
	found  bool               // the slot is there
	out    api.ReplicationSetup
}

// checkSlot refuses a slot that nobody could read changes from, before anything is made.
func (s *setup) checkSlot(ctx context.Context, conn *pgx.Conn) error {
	found, err := slot.Inspect(ctx, conn, s.db.Slot.Name)
	if errors.Is(err, slot.ErrNotFound) {
		return slot.CheckName(s.db.Slot.Name)
	}
	if err != nil {
		return err
	}
	s.found = true
	return found.Check(s.db.Database, s.ours)
}

// publish sees to it that there is a publication, and tells what it publishes of the tables asked for.
func (s *setup) publish(ctx context.Context, conn *pgx.Conn) error {
	name := s.db.Publication.Name
	_, err := publication.Inspect(ctx, conn, name)
	if errors.Is(err, publication.ErrNotFound) {
		err = s.createPublication(ctx, conn)
		if err == nil || !errors.Is(err, publication.ErrExists) { // somebody else was faster
			return err
		}
	} else if err != nil {
		return err
	}
	there, err := publication.Inspect(ctx, conn, name)
	if err != nil {
		return err
	}
	missing, err := publication.Reconcile(ctx, conn, name, s.tables)
	if err != nil {
		return err
	}
	absent := map[publication.Name]bool{}
	for _, m := range missing {
		absent[m.Name] = true
		s.out.LeftOut = append(s.out.LeftOut, missingTable(name, m))
	}
	for _, t := range s.tables {
		if !absent[t] {
			s.published(t)
		}
	}
	if len(s.tables) == 0 {
		for i := range there.Tables {
			s.published(there.Tables[i].Name)
		}
	}
	for _, b := range there.Breaks {
		s.out.Warnings = append(s.out.Warnings, b.Explain()+"; "+b.Repair)
	}
	return nil
}

// createPublication leaves out what would break. When nothing of what was asked for is left, nothing is made.
func (s *setup) createPublication(ctx context.Context, conn *pgx.Conn) error {
	o := publication.Options{Name: s.db.Publication.Name, Tables: s.tables}
	if len(s.tables) == 0 {
		o.InitSQL = s.db.Publication.InitSQL
	} else {
		plan, err := publication.Plan(ctx, conn, o)
		if err != nil {
			return err
		}
		if len(plan.Tables) == 0 {
			return errNonePublishable(plan.LeftOut)
		}
	}
	made, err := publication.Create(ctx, conn, o)
	if err != nil {
		return err
	}
	s.out.Created = append(s.out.Created, api.CreatedPublication)
	for _, t := range made.Tables {
		s.published(t)
	}
	for i := range made.LeftOut {
		s.out.LeftOut = append(s.out.LeftOut, leftOut(o.Name, &made.LeftOut[i]))
	}
	for _, b := range made.Breaks {
		s.out.Warnings = append(s.out.Warnings, b.Explain()+"; "+b.Repair)
	}
	if s.found {
		s.out.Warnings = append(s.out.Warnings, fmt.Sprintf(
			"slot %s is older than publication %s: Postgres cannot send with it what was changed in between, and says that the publication does not exist; drop the slot and set it up again if it comes to that", s.db.Slot.Name, o.Name))
	}
	return nil
}

func errNonePublishable(out []publication.LeftOut) error {
	var why, repairs []string
	for i := range out {
		why = append(why, out[i].Explain())
		if r := out[i].Repair; r != "" && !slices.Contains(repairs, r) {
			repairs = append(repairs, r)
		}
	}
	p := problem.New("table_not_publishable", "none of the tables can be published without harm").WithDetail("%s", strings.Join(why, "; "))
	if len(repairs) == 0 {
		return p.WithHint("name the tables that hold the rows")
	}
	return p.WithHint("%s", strings.Join(repairs, "; "))
}

func (s *setup) published(t publication.Name) {
	s.out.Tables = append(s.out.Tables, resource.TableName{Schema: t.Schema, Name: t.Table})
}

// leftOut tells why a publication that we made does not have a table.
func leftOut(pub string, l *publication.LeftOut) api.LeftOutTable {
	t := api.LeftOutTable{Table: resource.TableName{Schema: l.Schema, Name: l.Table}, Reason: string(l.Reason), Detail: l.Explain(), Repair: l.Repair}
	if t.Repair != "" {
		t.Repair += fmt.Sprintf("; alter publication %s add table %s", pgx.Identifier{pub}.Sanitize(), l.Name)
	}
	return t
}

// missingTable tells why a publication of somebody else's does not have a table.
func missingTable(pub string, m publication.Missing) api.LeftOutTable {
	t := api.LeftOutTable{Table: resource.TableName{Schema: m.Schema, Name: m.Table}, Reason: "table_not_published", Repair: m.SQL}
	switch {
	case m.NotFound:
		t.Reason, t.Detail = "table_not_found", fmt.Sprintf("there is no table %s", m.Name)
	case m.Problem != nil:
		t.Reason, t.Detail = string(m.Problem.Reason), m.Problem.Explain()
	default:
		t.Detail = fmt.Sprintf("publication %q was there already, and does not have table %s", pub, m.Name)
	}
	return t
}

func (s *setup) createSlot(ctx context.Context, source postgres.Config) error {
	if s.found {
		return nil
	}
	var waiting struct {
		sync.Mutex
		on *problem.Error
	}
	_, err := slot.Create(ctx, source.Connect, slot.Options{Name: s.db.Slot.Name, Waiting: func(w slot.Wait) {
		waiting.Lock()
		defer waiting.Unlock()
		waiting.on = w.Problem(s.db.Slot.Name)
	}})
	switch {
	case err == nil:
		s.out.Created = append(s.out.Created, api.CreatedSlot)
	case errors.Is(err, slot.ErrExists): // somebody else was faster, our own capture perhaps
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		waiting.Lock()
		defer waiting.Unlock()
		if waiting.on != nil {
			return waiting.on.Because(err)
		}
	}
	return err
}

// explained adds to an error what was made before it.
func (s *setup) explained(err error) error {
	p, ok := problem.As(err)
	if !ok || len(s.out.Created) == 0 {
		return err
	}
	shown := *p
	made := fmt.Sprintf("%s %q was created and stays", s.out.Created[0], s.db.Publication.Name)
	if shown.Detail != "" {
		made = shown.Detail + "; " + made
	}
	return shown.WithDetail("%s", made)
}
