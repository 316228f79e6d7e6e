package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// checkPooler looks for a pooler in between: by its address, by settings that did not arrive, and by backends that change or are not the one
// that the connection began with. A pooler that shares its sessions is a failure; one that may be a mere proxy is named, and the replication
// connection decides.
func (p *preflight) checkPooler(ctx context.Context) (finding, error) {
	if how, found := p.opts.Config.PoolerAddress(); found {
		if err := p.readServer(ctx); err != nil {
			return finding{}, err
		}
		return fail(pooled(p.opts.Config, how)), nil
	}
	first, err := p.backendPID(ctx)
	if err != nil {
		return finding{}, err
	}
	if err := p.readServer(ctx); err != nil {
		return finding{}, err
	}
	last, err := p.backendPID(ctx)
	if err != nil {
		return finding{}, err
	}
	if first != last {
		return fail(pooled(p.opts.Config, fmt.Sprintf("statements of one session ran in backends %d and %d", first, last))), nil
	}
	if name := p.unpinned(); name != "" {
		how := fmt.Sprintf("%s is %q although the connection asked for %q", name, p.server.settings[strings.ToLower(name)].text, Pinned()[name])
		return fail(pooled(p.opts.Config, how)), nil
	}
	if told := p.conn.PgConn().PID(); first != told {
		return p.somethingBetween(ctx, told, first)
	}
	if p.full {
		if name, err := p.pgpool(ctx); err != nil || name != "" {
			return fail(pooled(p.opts.Config, name)), err
		}
	}
	return good("none: backend %d answers for itself", first), nil
}

// somethingBetween judges a connection whose other end is not the backend that answers.
func (p *preflight) somethingBetween(ctx context.Context, told, backend uint32) (finding, error) {
	how := fmt.Sprintf("the connection said backend %d, the server says %d", told, backend)
	if p.full {
		mode, err := p.poolMode(ctx, backend)
		if err != nil {
			return finding{}, err
		}
		if mode != "" {
			return fail(pooled(p.opts.Config, how+"; "+mode)), nil
		}
	}
	found := pooled(p.opts.Config, how)
	found.Message = p.opts.Config.Address() + " looks like a proxy or connection pooler"
	return warn(found), nil
}

// poolMode finds out how a pooler shares its sessions. While a session is open, no other gets its backend, unless backends are handed out by
// transaction or by statement; who hands them out by statement refuses transactions.
func (p *preflight) poolMode(ctx context.Context, backend uint32) (string, error) {
	other, err := p.opts.Config.Connect(ctx)
	if err != nil {
		return "", nil // a pooler without room for a second session tells no more
	}
	defer closeQuietly(ctx, other.Close)
	var pid int32
	if err := other.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil || uint32(pid) != backend { //nolint:gosec // process ids are positive
		return "", err
	}
	_, err = other.PgConn().Exec(ctx, "begin read only").ReadAll()
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return "two sessions share a backend, and transactions are refused: it pools by statement", nil
	}
	if err == nil {
		_, err = other.PgConn().Exec(ctx, "rollback").ReadAll()
	}
	return "two sessions share a backend: it pools by transaction", err
}

// pgpool asks whether Pgpool-II is in between, which passes on everything but the stream, process ids and replication commands included. Only if
// the server sees another client than us, which address translation causes too, the question is put: Pgpool-II answers it itself, and the server
// logs an error.
func (p *preflight) pgpool(ctx context.Context) (string, error) {
	var port *int32
	if err := p.conn.QueryRow(ctx, "select inet_client_port()").Scan(&port); err != nil {
		return "", err
	}
	ours, ok := p.conn.PgConn().Conn().LocalAddr().(*net.TCPAddr)
	if !ok || port != nil && int(*port) == ours.Port {
		return "", nil
	}
	results, err := p.conn.PgConn().Exec(ctx, "show pool_version").ReadAll()
	if err != nil {
		if _, refused := errors.AsType[*pgconn.PgError](err); refused {
			return "", nil
		}
		return "", err
	}
	for _, r := range results {
		if len(r.Rows) > 0 {
			return fmt.Sprintf("it answers as Pgpool-II %s, which takes the command to stream and passes no change on", r.Rows[0][0]), nil
		}
	}
	return "", nil
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
