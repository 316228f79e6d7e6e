package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// serverFacts is what the checks ask of the server.
type serverFacts struct {
	version      int
	versionText  string
	inRecovery   bool
	user         string
	database     string
	mayReplicate bool
	mayConnect   bool
	slotsUsed    int
	settings     map[string]setting
}

// setting is a row of pg_settings.
type setting struct {
	text string
	unit string
}

const serverQuery = `
select current_setting('server_version_num')::int4, current_setting('server_version'), pg_is_in_recovery(),
  current_user::text, current_database()::text,
  r.rolsuper or r.rolreplication
    or coalesce((select pg_has_role(p.oid, 'MEMBER') from pg_roles p where p.rolname = 'rds_replication'), false),
  has_database_privilege(current_database(), 'CONNECT'),
  (select count(*) from pg_replication_slots)::int4
from pg_roles r where r.rolname = current_user`

const settingsQuery = `
select name::text, setting, coalesce(unit, '') from pg_settings
where name in ('wal_level', 'max_replication_slots', 'max_slot_wal_keep_size', 'wal_sender_timeout', 'idle_replication_slot_timeout',
  'hot_standby_feedback') or lower(name) = any ($1::text[])`

func (p *preflight) readServer(ctx context.Context) error {
	s := &p.server
	err := p.conn.QueryRow(ctx, serverQuery).
		Scan(&s.version, &s.versionText, &s.inRecovery, &s.user, &s.database, &s.mayReplicate, &s.mayConnect, &s.slotsUsed)
	if err != nil {
		return err
	}
	p.report.Version, p.report.InRecovery = s.version, s.inRecovery
	var pinned []string
	for name := range Pinned() {
		pinned = append(pinned, strings.ToLower(name))
	}
	rows, err := p.conn.Query(ctx, settingsQuery, pinned)
	if err != nil {
		return err
	}
	s.settings = map[string]setting{}
	var (
		name string
		v    setting
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &v.text, &v.unit}, func() error {
		s.settings[strings.ToLower(name)] = v
		return nil
	})
	return err
}

func (s serverFacts) flag(name string) bool { return s.settings[name].text == "on" }

// bytes is the value of a setting that is a size; -1 stands for no limit.
func (s serverFacts) bytes(name string) (int64, bool) {
	v, ok := s.settings[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		return 0, false
	}
	if n < 0 {
		return -1, true
	}
	units := map[string]int64{"": 1, "B": 1, "kB": 1 << 10, "8kB": 8 << 10, "MB": 1 << 20, "GB": 1 << 30}
	return n * units[v.unit], true
}

// duration is the value of a setting that is a time; 0 stands for none.
func (s serverFacts) duration(name string) (time.Duration, bool) {
	v, ok := s.settings[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		return 0, false
	}
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour}
	return time.Duration(n) * units[v.unit], true
}

// checkPooler looks for a pooler in between: by its address, by settings that did not arrive, and by backends that change or are not the one
// that the connection began with.
func (p *preflight) checkPooler(ctx context.Context) (*finding, error) {
	if how, found := p.opts.Config.PoolerAddress(); found {
		if err := p.readServer(ctx); err != nil {
			return nil, err
		}
		return fail(pooled(p.opts.Config, how)), nil
	}
	first, err := p.backendPID(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.readServer(ctx); err != nil {
		return nil, err
	}
	last, err := p.backendPID(ctx)
	if err != nil {
		return nil, err
	}
	if first != last {
		return fail(pooled(p.opts.Config, fmt.Sprintf("statements of one session ran in backends %d and %d", first, last))), nil
	}
	if name := p.unpinned(); name != "" {
		how := fmt.Sprintf("%s is %q although the connection asked for %q", name, p.server.settings[strings.ToLower(name)].text, Pinned()[name])
		return fail(pooled(p.opts.Config, how)), nil
	}
	if told := p.conn.PgConn().PID(); first != told {
		found := pooled(p.opts.Config, fmt.Sprintf("the connection said backend %d, the server says %d", told, first))
		found.Message = p.opts.Config.Address() + " looks like a proxy or connection pooler"
		return warn(found), nil
	}
	return nil, nil //nolint:nilnil // nil means that all is well
}

func (p *preflight) backendPID(ctx context.Context) (uint32, error) {
	var pid int32
	err := p.conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid)
	return uint32(pid), err //nolint:gosec // process ids are positive
}

// unpinned names a setting that is not as every connection of ours asks for, or "".
func (p *preflight) unpinned() string {
	for _, name := range slices.Sorted(maps.Keys(Pinned())) {
		want, got := Pinned()[name], p.server.settings[strings.ToLower(name)].text
		if name == "DateStyle" {
			got, _, _ = strings.Cut(got, ",") // the order of day and month is for input
		}
		if !strings.EqualFold(got, want) {
			return name
		}
	}
	return ""
}
