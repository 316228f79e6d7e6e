package hard_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/test/harness"
)

// Two rows swap their keys in one transaction, and a row wanders from key to key: each message names the old key, and messages that share a key,
// old or new, arrive in commit order though many are delivered at once.
func TestHard18ChangedKeysStayInOrderInBothGroups(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	hook := receiver(t, func(harness.Message) int {
		mu.Lock()
		wait := time.Duration(random.IntN(3000)) * time.Microsecond
		mu.Unlock()
		time.Sleep(wait) // a destination that is not equally fast each time
		return 0
	})
	r := begin(t, setup{
		ddl: `create table t (id int primary key deferrable initially deferred, v text); alter table t replica identity full;
			create table chain (id int primary key, v text)`,
		sinks:     pull + "  - {name: push, database: db, concurrency: 16, destination: {type: webhook, http_endpoint: hook, batch: false}}\n",
		endpoints: map[string]string{"hook": hook.URL},
	})
	r.exec("insert into t values (1, 'one'), (2, 'two'), (3, 'three')")
	for range 10 {
		r.exec("begin; update t set id = 3 - id where id in (1, 2); update t set id = 5 - id where id in (2, 3); commit")
	}
	r.exec("insert into chain values (1, 'x')")
	r.exec("update chain set id = 2; update chain set id = 3")
	r.exec("insert into chain values (1, 'y'); update chain set id = id + 10 where id = 1; delete from chain where id = 3; insert into chain values (3, 'z')")

	got := r.drain("pull")
	require.Len(t, got, 3+40+7)
	require.Equal(t, []string{
		`update t {"id":2,"v":"one"} was {"id":1}`, `update t {"id":1,"v":"two"} was {"id":2}`,
		`update t {"id":2,"v":"three"} was {"id":3}`, `update t {"id":3,"v":"one"} was {"id":2}`,
	}, saidAll(inOrder(got))[3:7])
	require.Equal(t, []string{
		`insert chain {"id":1,"v":"x"}`, `update chain {"id":2,"v":"x"} was {"id":1}`, `update chain {"id":3,"v":"x"} was {"id":2}`,
		`insert chain {"id":1,"v":"y"}`, `update chain {"id":11,"v":"y"} was {"id":1}`, `delete chain {"id":3,"v":null}`, `insert chain {"id":3,"v":"z"}`,
	}, saidAll(got)[43:])

	pushed := hook.wait(r, len(got)+1)
	last := map[string]harness.Message{} // by key, old keys too
	moved := 0
	for _, m := range pushed {
		keys := map[string]bool{m.Metadata.TableName + m.Metadata.RecordPKs[0]: true}
		if old := field(t, m.Changes, "id"); old != "" {
			keys[m.Metadata.TableName+old] = true
			moved++
		}
		for key := range keys {
			before, seen := last[key]
			require.False(t, seen && !earlier(before, m), "%s came after %s", said(m), said(before))
			last[key] = m
		}
	}
	require.Equal(t, 43, moved)
}

// earlier reports whether a comes before b in the history.
func earlier(a, b harness.Message) bool {
	if a.Metadata.CommitLSN != b.Metadata.CommitLSN {
		return a.Metadata.CommitLSN < b.Metadata.CommitLSN
	}
	return a.Metadata.CommitIdx < b.Metadata.CommitIdx
}
