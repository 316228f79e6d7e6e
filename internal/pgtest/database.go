package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// DB is a database that belongs to one test.
type DB struct {
	Server    *Server
	Name      string
	URL       string // over TCP, as the superuser
	SocketURL string // over the unix socket, as the superuser

	mu   sync.Mutex
	conn *pgx.Conn       // serves Exec and Value
	mine map[string]bool // slots that the test announced
}

// Database makes an empty database. When the test ends it is dropped, with everything that is still connected to it. A replication slot found
// in it then is dropped too; unless its name came from Slot, that fails the test.
func (s *Server) Database(t testing.TB) *DB {
	t.Helper()
	db := &DB{Server: s, Name: unique(t), mine: map[string]bool{}}
	db.URL, db.SocketURL = s.urls(t, db.Name)
	ctx, cancel := deadline(t)
	defer cancel()
	admin := s.admin(ctx, t)
	defer closeConn(ctx, t, admin)
	// template0 never has a connection that would be in the way.
	_, err := admin.Exec(ctx, `create database `+pgx.Identifier{db.Name}.Sanitize()+` template template0`)
	require.NoError(t, err, "create the test's database")
	t.Cleanup(func() { db.drop(t) })
	return db
}

func (s *Server) urls(t testing.TB, database string) (tcp, socket string) {
	t.Helper()
	if s.cluster != nil {
		return s.cluster.URL(database), s.cluster.SocketURL(database)
	}
	u, err := url.Parse(s.url)
	require.NoError(t, err, EnvURL)
	u.Path = "/" + database
	ctx, cancel := deadline(t)
	defer cancel()
	conn := s.admin(ctx, t)
	defer closeConn(ctx, t, conn)
	var dirs, port string
	require.NoError(t, conn.QueryRow(ctx, `select current_setting('unix_socket_directories'), current_setting('port')`).Scan(&dirs, &port))
	dir, _, _ := strings.Cut(dirs, ",")
	local := url.URL{Scheme: "postgres", User: u.User, Path: u.Path}
	local.RawQuery = url.Values{"host": {strings.TrimSpace(dir)}, "port": {port}, "sslmode": {"disable"}}.Encode()
	return u.String(), local.String()
}

// admin connects to the database that is always there.
func (s *Server) admin(ctx context.Context, t testing.TB) *pgx.Conn {
	t.Helper()
	u := s.url
	if s.cluster != nil {
		u = s.cluster.SocketURL("postgres")
	}
	conn, err := pgx.Connect(ctx, u)
	require.NoError(t, err, "connect to the test server")
	return conn
}

func closeConn(ctx context.Context, t testing.TB, conn *pgx.Conn) {
	t.Helper()
	if err := conn.Close(ctx); err != nil {
		t.Logf("close a connection: %v", err) // the server may have gone away on purpose
	}
}

// Conn opens a connection that is closed when the test ends.
func (db *DB) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	ctx, cancel := deadline(t)
	defer cancel()
	conn, err := pgx.Connect(ctx, db.URL)
	require.NoError(t, err, "connect to the test's database")
	t.Cleanup(func() {
		ctx, cancel := deadline(t)
		defer cancel()
		closeConn(ctx, t, conn)
	})
	return conn
}

// Exec runs a statement, or without arguments several, on a connection kept for that. Statements of concurrent calls run one after another.
func (db *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx, cancel := deadline(t)
	defer cancel()
	db.mu.Lock()
	defer db.mu.Unlock()
	_, err := db.connected(ctx, t).Exec(ctx, sql, execArgs(args)...)
	require.NoError(t, err, "%s", sql)
}

// execArgs selects the simple protocol, which takes several statements at once, when there is nothing to bind.
func execArgs(args []any) []any {
	if len(args) == 0 {
		return []any{pgx.QueryExecModeSimpleProtocol}
	}
	return args
}

// Value runs a query of one row and one column on the connection of Exec.
func Value[T any](t testing.TB, db *DB, sql string, args ...any) T {
	t.Helper()
	ctx, cancel := deadline(t)
	defer cancel()
	db.mu.Lock()
	defer db.mu.Unlock()
	var value T
	require.NoError(t, db.connected(ctx, t).QueryRow(ctx, sql, args...).Scan(&value), "%s", sql)
	return value
}

// connected returns the kept connection, a new one if the server closed it. The caller holds mu.
func (db *DB) connected(ctx context.Context, t testing.TB) *pgx.Conn {
	t.Helper()
	if db.conn != nil && db.conn.Ping(ctx) == nil {
		return db.conn
	}
	db.disconnect(ctx)
	conn, err := pgx.Connect(ctx, db.URL)
	require.NoError(t, err, "connect to the test's database")
	db.conn = conn
	return conn
}

func (db *DB) disconnect(ctx context.Context) {
	if db.conn != nil {
		_ = db.conn.Close(ctx) // usually the server has closed it
		db.conn = nil
	}
}

// Slot returns a name for a replication slot, unique in the server, and announces that the test may leave that slot behind.
func (db *DB) Slot(t testing.TB) string {
	t.Helper()
	name := unique(t)
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mine[name] = true
	return name
}

// Publication returns a name for a publication, unique in the server. It goes away with the database.
func (db *DB) Publication(t testing.TB) string {
	t.Helper()
	return unique(t)
}

func (db *DB) drop(t testing.TB) {
	t.Helper()
	ctx, cancel := deadline(t)
	defer cancel()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.disconnect(ctx)
	if db.Server.cluster != nil && !db.Server.cluster.Running() {
		return // the test stopped its own server, which is removed next
	}
	admin := db.Server.admin(ctx, t)
	defer closeConn(ctx, t, admin)
	for _, slot := range db.dropSlots(ctx, t, admin) {
		if !db.mine[slot] {
			t.Errorf("the test left replication slot %q behind; announce it with DB.Slot, or drop it", slot)
		}
	}
	_, err := admin.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, db.Name)
	require.NoError(t, err, "end the sessions of the test's database")
	_, err = admin.Exec(ctx, `drop database if exists `+pgx.Identifier{db.Name}.Sanitize())
	require.NoError(t, err, "drop the test's database")
}

// dropSlots drops the slots of the database and returns their names. A slot can be dropped once its walsender has ended, and a client that is
// still running may reconnect in between, so this repeats until there is none left.
func (db *DB) dropSlots(ctx context.Context, t testing.TB, admin *pgx.Conn) []string {
	t.Helper()
	found := map[string]bool{}
	var names []string
	for {
		rows, err := admin.Query(ctx, `
			select slot_name::text, coalesce(pg_terminate_backend(active_pid), false), not temporary and active_pid is null
			from pg_replication_slots where database = $1`, db.Name)
		require.NoError(t, err, "look for slots")
		left, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
			Name             string
			Ended, Droppable bool
		}])
		require.NoError(t, err, "look for slots")
		if len(left) == 0 {
			return names
		}
		for _, slot := range left {
			if !found[slot.Name] {
				found[slot.Name] = true
				names = append(names, slot.Name)
			}
			if !slot.Droppable {
				continue
			}
			if _, err := admin.Exec(ctx, `select pg_drop_replication_slot($1)`, slot.Name); err != nil && !isBusyOrGone(err) {
				require.NoError(t, err, "drop slot %s", slot.Name)
			}
		}
		_, err = admin.Exec(ctx, `select pg_sleep(0.01)`)
		require.NoError(t, err, "wait for slots to become free")
	}
}

// isBusyOrGone tells object_in_use and undefined_object: somebody took or dropped the slot meanwhile.
func isBusyOrGone(err error) bool {
	var pg interface{ SQLState() string }
	return errors.As(err, &pg) && (pg.SQLState() == "55006" || pg.SQLState() == "42704")
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// unique derives a name from the test's: valid for databases, slots and publications, and unlike any other.
func unique(t testing.TB) string {
	t.Helper()
	random := make([]byte, 5)
	_, err := rand.Read(random)
	require.NoError(t, err)
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(t.Name()), "_"), "_")
	name = strings.TrimPrefix(name, "test")
	return "t_" + name[:min(len(name), 45)] + "_" + hex.EncodeToString(random)
}
