package contract_test

import (
	"fmt"

	"github.com/stretchr/testify/require"
)

func logRoutes(r *rig) {
	const base = "/api/postgres_databases/db/log"
	r.db.Exec(r.t, "insert into t values (71, 'a'); update t set v = 'b' where id = 71; delete from t where id = 71")
	r.eventually("the delete is there", func() bool {
		data, _ := r.as(readToken, "GET", base+"/changes?table=public.t&key=71", nil).require(200).at("data").([]any)
		return len(data) == 3
	})
	page := r.as(readToken, "GET", base+"/changes?table=t&key=71&limit=2", nil).require(200)
	require.Equal(r.t, "insert", page.at("data.0.data.action"))
	require.Equal(r.t, "71", page.at("data.1.data.metadata.record_pks.0"))
	next := fmt.Sprint(page.at("next"))
	page = r.as(readToken, "GET", base+"/changes?table=t&key=71&after="+next, nil).require(200)
	require.Equal(r.t, "delete", page.at("data.0.data.action"))
	require.Nil(r.t, page.at("next"))
	require.Empty(r.t, r.admin("GET", base+"/changes?to=2000-01-01T00:00:00Z", nil).require(200).at("data"))
	require.Empty(r.t, r.admin("GET", base+"/changes?from_lsn=FFFFFFFF/0", nil).require(200).at("data"))
	for _, wrong := range []string{"from=yesterday", "to_lsn=x", "limit=0", "limit=1001", "after=-1", "before=x"} {
		r.admin("GET", base+"/changes?"+wrong, nil).refused(400, "invalid_parameter")
	}
	require.Equal(r.t, "db", r.as(readToken, "GET", base, nil).require(200).text("database"))
	require.Equal(r.t, true, r.as(readToken, "GET", base+"/tables", nil).require(200).at("complete"))
	verified := r.as(readToken, "GET", base+"/verify", nil).require(200)
	require.Empty(r.t, verified.at("damage"))
	require.Nil(r.t, verified.at("next"))
	r.as(otherToken, "GET", base+"/changes", nil).refused(404, "database_not_declared")
	r.as(consumeToken, "GET", base+"/changes", nil).require(403)
}
