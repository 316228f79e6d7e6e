package server

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// declaredAs declares a test's database.
func declaredAs(t *testing.T, db *pgtest.DB) *resource.Database {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	d := resource.NewDatabase()
	d.Name, d.Hostname, d.Database, d.Username = "db", u.Hostname(), strings.TrimPrefix(u.Path, "/"), u.User.Username()
	d.Port, err = strconv.Atoi(u.Port())
	require.NoError(t, err)
	if secret, there := u.User.Password(); there {
		d.Password = resource.Secret(secret)
	}
	d.Slot.Name, d.Publication.Name = db.Slot(t), db.Publication(t)
	return &d
}

// A slot whose creation waits for somebody's transaction is called off in time, and the answer says whose that is. What was made before stays, and
// the next attempt goes on from there.
func TestSetupThatWaitsSaysForWhom(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table t (id int primary key)")
	d := declaredAs(t, db)
	conn := db.Conn(t)
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "insert into t values (1)")
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	made, err := overview{&Server{}}.SetUpReplication(ctx, d, nil)
	require.Equal(t, "slot_creation_waits", problem.Code(err), "%v", err)
	require.ErrorContains(t, err, "insert into t")
	require.ErrorContains(t, err, "was created and stays")
	require.Equal(t, []string{api.CreatedPublication}, made.Created)
	require.Zero(t, pgtest.Value[int](t, db, "select count(*)::int from pg_replication_slots where slot_name = $1", d.Slot.Name))

	require.NoError(t, tx.Rollback(t.Context()))
	made, err = overview{&Server{}}.SetUpReplication(t.Context(), d, nil)
	require.NoError(t, err)
	require.Equal(t, []string{api.CreatedSlot}, made.Created)
	require.Equal(t, []resource.TableName{{Schema: "public", Name: "t"}}, made.Tables)
}

// Several who set the same database up at once all succeed, and what they make is made once.
func TestSetupAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table t (id int primary key)")
	d := declaredAs(t, db)
	const many = 5
	created := make(chan []string, many)
	errs := make(chan error, many)
	for range many {
		go func() {
			made, err := overview{&Server{}}.SetUpReplication(t.Context(), d, []resource.TableName{{Schema: "public", Name: "t"}})
			created <- made.Created
			errs <- err
		}()
	}
	var all []string
	for range many {
		all = append(all, <-created...)
		require.NoError(t, <-errs)
	}
	require.ElementsMatch(t, []string{api.CreatedPublication, api.CreatedSlot}, all)
}
