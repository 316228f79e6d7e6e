package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/postgres/publication"
	"github.com/sequinstream/sequin/internal/problem"
)

// checkConnect asks for the privilege that the connection itself may not need: a superuser's or an owner's.
func (p *preflight) checkConnect(context.Context) (finding, error) {
	if p.server.mayConnect {
		return good("user %q may connect to database %q", p.server.user, p.server.database), nil
	}
	return fail(problem.New("no_connect_privilege", "user %q may not connect to database %q", p.server.user, p.server.database).
		WithHint("GRANT CONNECT ON DATABASE %s TO %s", quoteIdent(p.server.database), quoteIdent(p.server.user))), nil
}

// checkReplication opens a replication connection, which proves the privilege, pg_hba.conf and a free walsender at once.
func (p *preflight) checkReplication(ctx context.Context) (finding, error) {
	if p.opts.OwnPID != 0 {
		return good("our own stream runs, in backend %d", p.opts.OwnPID), nil
	}
	conn, err := p.opts.Config.ConnectReplication(ctx)
	if err != nil {
		return p.noReplication(err)
	}
	defer closeQuietly(ctx, conn.Close)
	identity, err := Identify(ctx, conn)
	if errors.Is(err, ErrNotReplication) {
		return fail(pooled(p.opts.Config, "it ignored the request for a replication connection")), nil
	}
	if err != nil {
		return finding{}, err
	}
	p.report.Identity = &identity
	return good("a replication connection works; system %s, timeline %d, WAL at %s", identity.SystemID, identity.Timeline, identity.Position), nil
}

// noReplication explains why a replication connection was refused where a regular one is not. What the role lacks comes before what the server
// happened to refuse first.
func (p *preflight) noReplication(err error) (finding, error) {
	found, ok := problem.As(err)
	switch {
	case !p.server.mayReplicate && ok && found.Code != "pooled_connection", ok && found.Code == "replication_privilege_missing":
		return fail(problem.New("replication_privilege_missing", "user %q lacks the REPLICATION privilege", p.server.user).
			WithHint("%s", replicationHint(p.provider, p.server.user))), nil
	case !ok:
		return finding{}, err
	}
	if (p.provider == ProviderRDS || p.provider == ProviderAurora) && slices.Contains([]string{"wrong_password", "authentication_failed", "no_pg_hba_entry"}, found.Code) {
		found.Hint = "with IAM tokens: set rds.iam_auth_for_replication = 1 in the parameter group, which needs no reboot; else " + found.Hint
	}
	return fail(found), nil
}

// planned is what the creation of a publication would do, asked once. A table that does not exist is a problem.
func (p *preflight) planned(ctx context.Context) (publication.Planned, error) {
	if p.plan != nil {
		return *p.plan, nil
	}
	plan, err := publication.Plan(ctx, p.conn, publication.Options{Name: p.publicationName(), Tables: p.opts.Tables})
	if _, ok := problem.As(err); ok {
		err = nil // the check of the tables says so
	}
	if err == nil {
		p.plan = &plan
	}
	return plan, err
}

// checkCreate looks whether the role could create the publication, if there is none yet.
func (p *preflight) checkCreate(ctx context.Context) (finding, error) {
	if p.report.Publication != nil {
		return good("not needed: publication %q exists", p.report.Publication.Name), nil
	}
	var may bool
	if err := p.conn.QueryRow(ctx, "select has_database_privilege(current_database(), 'CREATE')").Scan(&may); err != nil {
		return finding{}, err
	}
	plan, err := p.planned(ctx)
	if err != nil {
		return finding{}, err
	}
	var foreign []publication.LeftOut
	for _, out := range plan.LeftOut {
		if out.Reason == publication.NotOwner {
			foreign = append(foreign, out)
		}
	}
	if may && len(foreign) == 0 {
		return good("user %q may create a publication of %s", p.server.user, count(len(plan.Tables), "table")), nil
	}
	return p.cannotCreate(may, plan, foreign), nil
}

// cannotCreate is a failure if a publication is to be created, and would be refused or empty.
func (p *preflight) cannotCreate(may bool, plan publication.Planned, foreign []publication.LeftOut) finding {
	byOwner := fmt.Sprintf("have the owner of the tables, or a superuser, run: CREATE PUBLICATION %s FOR TABLE …", quoteIdent(p.publicationName()))
	if n := len(plan.Publishable); n > 0 && n <= maxNamed {
		byOwner = "have the owner of the tables, or a superuser, run: " + plan.SQL
	}
	belong := count(len(foreign), "table belongs", "tables belong") + " to other roles"
	if may && len(plan.Tables) > 0 {
		return warn(problem.New("tables_not_owned", "%s, and a publication that user %q creates leaves them out", belong, p.server.user).
			WithDetail("%s", someTables(foreign, func(l publication.LeftOut) string { return l.Name.String() })).WithHint("%s", byOwner))
	}
	found := problem.New("publication_privilege_missing", "user %q may not create a publication", p.server.user).WithDetail("%s", belong).WithHint("%s", byOwner)
	if len(foreign) == 0 {
		found = found.WithDetail("it lacks the privilege CREATE on database %q", p.server.database).
			WithHint("GRANT CREATE ON DATABASE %s TO %s", quoteIdent(p.server.database), quoteIdent(p.server.user))
	}
	if p.opts.Publication != "" && p.opts.CreatePublication {
		return fail(found)
	}
	return warn(found)
}

func (p *preflight) publicationName() string {
	if p.opts.Publication != "" {
		return p.opts.Publication
	}
	return "sequin_pub"
}

// checkTablePrivileges looks for tables that cannot be read. The stream needs no privilege on them; backfills do.
func (p *preflight) checkTablePrivileges(context.Context) (finding, error) {
	var schemas, tables []string
	for _, t := range p.tables {
		if !t.usage && !slices.Contains(schemas, t.Schema) {
			schemas = append(schemas, t.Schema)
		}
		if !t.readable {
			tables = append(tables, t.Name.String())
		}
	}
	if len(schemas) == 0 && len(tables) == 0 {
		return good("user %q may read %s", p.server.user, count(len(p.tables), "table")), nil
	}
	user := quoteIdent(p.server.user)
	var hints []string
	for _, schema := range schemas {
		hints = append(hints, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", quoteIdent(schema), user))
	}
	if len(tables) > 0 {
		hints = append(hints, fmt.Sprintf("GRANT SELECT ON %s TO %s", strings.Join(tables[:min(len(tables), maxNamed)], ", "), user))
	}
	if len(tables) > maxNamed {
		hints = append(hints, "and so on; or for a whole schema: GRANT SELECT ON ALL TABLES IN SCHEMA … TO "+user)
	}
	return warn(problem.New("select_privilege_missing", "user %q cannot read %s: changes stream all the same, backfills do not", p.server.user,
		count(max(len(tables), len(schemas)), "table or schema", "tables or schemas")).
		WithDetail("%s", someTables(append(tables, schemas...), func(s string) string { return s })).WithHint("%s", strings.Join(hints, "; "))), nil
}

// count writes a number with its noun.
func count(n int, one string, many ...string) string {
	if n == 1 {
		return "1 " + one
	}
	if len(many) > 0 {
		return fmt.Sprintf("%d %s", n, many[0])
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// maxNamed bounds how many tables a problem names.
const maxNamed = 20

// someTables names the first of them.
func someTables[T any](all []T, name func(T) string) string {
	var names []string
	for _, t := range all[:min(len(all), maxNamed)] {
		names = append(names, name(t))
	}
	text := strings.Join(names, ", ")
	if more := len(all) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
