package pgtest_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	one, two := pgtest.Shared(t).Database(t), pgtest.Shared(t).Database(t)
	one.Exec(t, `create table here (id int); insert into here values (1), (2)`)
	require.Equal(t, int64(2), pgtest.Value[int64](t, one, `select count(*) from here`))
	require.False(t, pgtest.Value[bool](t, two, `select to_regclass('here') is not null`))
	slot, again := one.Slot(t), one.Slot(t)
	require.NotEqual(t, slot, again)
}

func TestSocketAndTCPReachTheSameDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	for name, url := range map[string]string{"tcp": db.URL, "socket": db.SocketURL} {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err, name)
		var got string
		require.NoError(t, conn.QueryRow(t.Context(), `select current_database()`).Scan(&got))
		require.Equal(t, db.Name, got, name)
		require.NoError(t, conn.Close(t.Context()))
	}
}
