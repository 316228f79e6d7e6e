package backfill

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
)

// A pooler gives the next transaction to another server process, which knows no plans of ours.
func TestPlansThatAreForgotten(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, "create table t (id int primary key); insert into t select generate_series(1, 9)")
	cfg, err := postgres.ParseURL(db.URL)
	require.NoError(t, err)
	r, err := New(t.Context(), cfg.Connect, Spec{Schema: "public", Table: "t"})
	require.NoError(t, err)
	defer r.Close(context.WithoutCancel(t.Context()))
	at := Cursor{}
	for i := range 4 {
		p, err := r.Page(t.Context(), at, 2)
		require.NoError(t, err)
		require.Len(t, p.Rows, 2)
		at = p.Next
		_, err = r.conn.Exec(t.Context(), "deallocate all")
		require.NoError(t, err)
		require.Equal(t, i > 0, r.pooled)
	}
}
