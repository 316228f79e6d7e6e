package postgres_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/problem"
)

// pooler is a connection pooler as PgBouncer is one: it answers the start-up itself, with a process id of its own and errors without the
// fields that Postgres adds, knows few start-up parameters, and passes statements on to one of its own sessions on the server.
type pooler struct {
	server   string   // address
	refuse   bool     // unknown start-up parameters are errors; else they are ignored
	sessions int      // statements take turns on so many
	settings []string // what its sessions on the server begin with
	pid      uint32   // 0: that of the first session on the server
}

// known are the start-up parameters that PgBouncer passes on.
func known(parameter string) bool {
	return slices.Contains([]string{"user", "database", "client_encoding", "datestyle", "timezone", "application_name"}, strings.ToLower(parameter))
}

func (p pooler) serve(ctx context.Context, t *testing.T, conn net.Conn) {
	t.Helper()
	client := pgproto3.NewBackend(conn, conn)
	start, err := client.ReceiveStartupMessage()
	if err != nil {
		return
	}
	startup, ok := start.(*pgproto3.StartupMessage)
	if !ok {
		return
	}
	parameters := map[string]string{}
	for name, value := range startup.Parameters {
		switch {
		case known(name):
			parameters[name] = value
		case p.refuse:
			client.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name})
			_ = client.Flush()
			return
		}
	}
	for _, s := range p.settings {
		name, value, _ := strings.Cut(s, "=")
		parameters[name] = value
	}
	var (
		servers []*pgproto3.Frontend
		closers []func()
	)
	defer func() {
		for _, end := range closers {
			end()
		}
	}()
	pid := p.pid
	for range p.sessions {
		server, serverPID, closeServer, err := p.session(ctx, parameters)
		if err != nil {
			t.Errorf("the pooler's session: %v", err)
			return
		}
		closers = append(closers, closeServer)
		if pid == 0 {
			pid = serverPID
		}
		servers = append(servers, server)
	}
	client.Send(&pgproto3.AuthenticationOk{})
	client.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	client.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	client.Send(&pgproto3.BackendKeyData{ProcessID: pid, SecretKey: []byte{1, 2, 3, 4}})
	client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if client.Flush() != nil {
		return
	}
	relay(client, servers)
}

// session opens a session on the server.
func (p pooler) session(ctx context.Context, parameters map[string]string) (*pgproto3.Frontend, uint32, func(), error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.server)
	if err != nil {
		return nil, 0, nil, err
	}
	server := pgproto3.NewFrontend(conn, conn)
	server.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: parameters})
	if err := server.Flush(); err != nil {
		return nil, 0, nil, err
	}
	var pid uint32
	for {
		message, err := server.Receive()
		if err != nil {
			return nil, 0, nil, err
		}
		switch m := message.(type) {
		case *pgproto3.BackendKeyData:
			pid = m.ProcessID
		case *pgproto3.ErrorResponse:
			return nil, 0, nil, errors.New(m.Message)
		case *pgproto3.ReadyForQuery:
			return server, pid, func() { _ = conn.Close() }, nil
		}
	}
}

// relay passes statements on, each to the next session, and the answers back.
func relay(client *pgproto3.Backend, servers []*pgproto3.Frontend) {
	for turn := 0; ; turn++ {
		server := servers[turn%len(servers)]
		for done := false; !done; {
			message, err := client.Receive()
			if err != nil {
				return
			}
			server.Send(message)
			switch message.(type) {
			case *pgproto3.Query, *pgproto3.Sync:
				done = true
			case *pgproto3.Terminate:
				return
			}
		}
		if server.Flush() != nil {
			return
		}
		for done := false; !done; {
			message, err := server.Receive()
			if err != nil {
				return
			}
			client.Send(message)
			_, done = message.(*pgproto3.ReadyForQuery)
		}
		if client.Flush() != nil {
			return
		}
	}
}

// through puts the pooler before the database and returns the configuration that leads to it.
func through(t *testing.T, db *pgtest.DB, p pooler) postgres.Config {
	t.Helper()
	cfg := config(t, db.URL)
	p.server = cfg.Address()
	address := listen(t, func(c net.Conn) { p.serve(t.Context(), t, c) })
	front := config(t, "postgres://"+cfg.User+"@"+address+"/"+cfg.Database+"?sslmode=disable")
	return front
}

// TestPoolersAreNamed: whatever a pooler does with what we ask for, somebody is told that it is there.
func TestPoolersAreNamed(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	t.Run("refuses parameters", func(t *testing.T) {
		t.Parallel()
		cfg := through(t, db, pooler{refuse: true, sessions: 1})
		require.Equal(t, "pooled_connection", fails(t, cfg))
		_, err := cfg.Connect(t.Context())
		require.False(t, postgres.Transient(err))
	})
	cases := map[string]struct {
		pooler pooler
		item   string
		status postgres.Status
		detail string
	}{
		"statements take turns":   {pooler{sessions: 2, pid: 4_000_000_000}, "pooler", postgres.StatusFail, "ran in backends"},
		"settings are lost":       {pooler{sessions: 1, settings: []string{"IntervalStyle=iso_8601"}}, "pooler", postgres.StatusFail, "IntervalStyle"},
		"another process id":      {pooler{sessions: 1, pid: 4_000_000_000}, "pooler", postgres.StatusWarn, "4000000000"},
		"replication not granted": {pooler{sessions: 1}, "replication", postgres.StatusFail, "replication connection"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := through(t, db, c.pooler)
			conn, err := cfg.Connect(t.Context())
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close(t.Context())) }()
			report, err := postgres.Preflight(t.Context(), conn, postgres.PreflightOptions{Config: cfg})
			require.NoError(t, err)
			found := item(t, report, c.item)
			require.Equal(t, c.status, found.Status)
			require.Equal(t, "pooled_connection", found.Problem.Code)
			require.Contains(t, found.Problem.Detail, c.detail)
			require.Equal(t, "pooled_connection", problem.Code(report.Err()), "streaming would not work in any of these")
		})
	}
}
