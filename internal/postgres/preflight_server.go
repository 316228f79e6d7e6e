package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/problem"
)

// serverFacts is what the checks ask of the server.
type serverFacts struct {
	version      int
	versionText  string
	inRecovery   bool
	user         string
	database     string
	superuser    bool
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
  current_user::text, current_database()::text, r.rolsuper,
  r.rolsuper or r.rolreplication
    or coalesce((select pg_has_role(p.oid, 'MEMBER') from pg_roles p where p.rolname = 'rds_replication'), false),
  has_database_privilege(current_database(), 'CONNECT'),
  (select count(*) from pg_replication_slots)::int4
from pg_roles r where r.rolname = current_user`

const settingsQuery = `
select name::text, setting, coalesce(unit, '') from pg_settings
where name in ('wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size', 'wal_sender_timeout', 'idle_replication_slot_timeout',
  'hot_standby_feedback', 'primary_slot_name', 'server_encoding', 'ssl') or lower(name) = any ($1::text[])`

func (p *preflight) readServer(ctx context.Context) error {
	s := &p.server
	err := p.conn.QueryRow(ctx, serverQuery).
		Scan(&s.version, &s.versionText, &s.inRecovery, &s.user, &s.database, &s.superuser, &s.mayReplicate, &s.mayConnect, &s.slotsUsed)
	if err != nil {
		return err
	}
	p.report.Version, p.report.VersionText, p.report.InRecovery = s.version, s.versionText, s.inRecovery
	p.report.Database, p.report.User = s.database, s.user
	if err := p.readSettings(ctx); err != nil {
		return err
	}
	seen, err := readEvidence(ctx, p.conn)
	if err != nil {
		return err
	}
	seen.superuser = s.superuser
	p.provider, p.how = seen.judge(p.opts.Config)
	p.report.Provider, p.report.Evidence = p.provider, p.how
	return nil
}

func (p *preflight) readSettings(ctx context.Context) error {
	var pinned []string
	for name := range Pinned() {
		pinned = append(pinned, strings.ToLower(name))
	}
	rows, err := p.conn.Query(ctx, settingsQuery, pinned)
	if err != nil {
		return err
	}
	p.server.settings = map[string]setting{}
	var (
		name string
		v    setting
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &v.text, &v.unit}, func() error {
		p.server.settings[strings.ToLower(name)] = v
		return nil
	})
	return err
}

func (s serverFacts) flag(name string) bool { return s.settings[name].text == "on" }

// bytes is the value of a setting that is a size or a number; -1 stands for no limit.
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

func (p *preflight) checkVersion(context.Context) (finding, error) {
	s := p.server
	switch {
	case s.version < minVersion:
		return fail(problem.New("postgres_too_old", "the server runs Postgres %s; 12 is the oldest that works", s.versionText).
			WithHint("upgrade the server")), nil
	case p.full && s.version/10000 > newestVersion:
		return warn(problem.New("postgres_untried", "the server runs Postgres %s; %d is the newest that was tried", s.versionText, newestVersion).
			WithHint("try it on a copy first, and look for a newer release of Sequin")), nil
	}
	return good("PostgreSQL %s", s.versionText), nil
}

func (p *preflight) checkRecovery(context.Context) (finding, error) {
	s, cfg := p.server, p.opts.Config
	if reader, writer := readerEndpoint(cfg); reader != "" {
		hint := "connect to the cluster endpoint: " + writer
		if !s.inRecovery && p.full {
			return warn(problem.New("reader_endpoint", "%s is the reader endpoint of an Aurora cluster", reader).
				WithDetail("it leads to the writer only as long as there is no reader").WithHint("%s", hint)), nil
		}
		if s.inRecovery {
			return fail(problem.New("standby_not_supported", "%s leads to a reader of an Aurora cluster, which does not decode", reader).WithHint("%s", hint)), nil
		}
	}
	switch {
	case !s.inRecovery:
		return good("it is a primary"), nil
	case p.provider == ProviderAurora:
		return fail(problem.New("standby_not_supported", "%s is a reader of an Aurora cluster, which does not decode", cfg.Address()).
			WithHint("connect to the cluster endpoint, which leads to the writer")), nil
	case s.version < 160000:
		return fail(problem.New("standby_not_supported", "%s is a standby, and only 16 or later can decode there", cfg.Address()).
			WithHint("connect to the primary")), nil
	case !p.opts.HasPrimary:
		return fail(p.standbyLacks(problem.New("primary_missing", "%s is a standby, and no primary is configured", cfg.Address()).
			WithHint("add `primary` to the database, or connect to the primary itself: heartbeats are written there"))), nil
	case !s.flag("hot_standby_feedback"):
		return warn(problem.New("hot_standby_feedback_off", "the standby does not tell its primary which rows the slot needs").
			WithHint("%s, or VACUUM on the primary can invalidate the slot", changeSetting(p.provider, "hot_standby_feedback", "on", false))), nil
	}
	return good("it is a standby that can decode"), nil
}

// standbyLacks adds what else a standby needs before a slot on it is safe.
func (p *preflight) standbyLacks(found *problem.Error) *problem.Error {
	var lacks []string
	if !p.server.flag("hot_standby_feedback") {
		lacks = append(lacks, "hot_standby_feedback is off: VACUUM on the primary can invalidate a slot here")
	}
	if p.server.settings["primary_slot_name"].text == "" {
		lacks = append(lacks, "primary_slot_name is empty: while the standby is away, the primary forgets its feedback")
	}
	if len(lacks) == 0 {
		return found
	}
	return found.WithDetail("besides, %s", strings.Join(lacks, "; "))
}

func (p *preflight) checkWALLevel(context.Context) (finding, error) {
	level := p.server.settings["wal_level"].text
	if level == "logical" {
		return good("wal_level is logical"), nil
	}
	return fail(problem.New("wal_level_not_logical", "the server writes no WAL that can be decoded").WithDetail("wal_level is %s", level).
		WithHint("%s", walLevelHint(p.provider))), nil
}

func (p *preflight) checkTimeouts(context.Context) (finding, error) {
	timeout, _ := p.server.duration("wal_sender_timeout")
	if idle, ok := p.server.duration("idle_replication_slot_timeout"); ok && idle > 0 {
		return warn(problem.New("idle_slot_timeout", "the server invalidates slots that nobody reads for %s", idle).
			WithHint("%s, or never stop for that long", changeSetting(p.provider, "idle_replication_slot_timeout", "0", false))), nil
	}
	if timeout > 0 && timeout < 5*time.Second {
		return warn(problem.New("wal_sender_timeout_short", "the server gives up on a stream that is silent for %s", timeout).
			WithHint("%s: that is its default", changeSetting(p.provider, "wal_sender_timeout", "60s", false))), nil
	}
	text := "wal_sender_timeout is off"
	if timeout > 0 {
		text = fmt.Sprintf("wal_sender_timeout is %s", timeout)
	}
	if _, ok := p.server.settings["idle_replication_slot_timeout"]; ok {
		text += ", idle_replication_slot_timeout is off"
	}
	return good("%s", text), nil
}

func (p *preflight) checkProvider(context.Context) (finding, error) {
	if p.provider == ProviderNone {
		return good("none that is known"), nil
	}
	text := fmt.Sprintf("%s (%s)", p.provider, p.how)
	if note := infoOf(p.provider).note; note != "" {
		text += "; " + note
	}
	if p.provider == ProviderHeroku {
		return fail(problem.New("provider_not_supported", "Heroku Postgres does not offer logical replication").
			WithHint("%s", walLevelHint(p.provider))).saying("%s", text), nil
	}
	return good("%s", text), nil
}

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
