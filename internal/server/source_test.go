package server_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/server"
)

// TestPasswordIsAskedForAtEachConnect: a command prints another token each time, and a file holds what was written last; both win over the password.
func TestPasswordIsAskedForAtEachConnect(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Options{Password: "admin"})
	db := srv.Database(t)
	db.Exec(t, `create role app login`)
	dir := t.TempDir()
	program, file := filepath.Join(dir, "token"), filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho x >> \"$1\"\necho \"token-$(wc -l < \"$1\" | tr -d ' ')\"\n"), 0o700)) //nolint:gosec // a program
	res := resource.NewDatabase()
	res.Hostname, res.Port, res.Database, res.Username, res.Password = "127.0.0.1", srv.Cluster(t).Port(), db.Name, "app", "not this one"

	byCommand := res
	byCommand.PasswordCommand = []string{program, filepath.Join(dir, "calls of it")}
	source, err := server.Source(byCommand)
	require.NoError(t, err)
	for call := range 3 {
		db.Exec(t, `alter role app password 'token-`+strconv.Itoa(call+1)+`'`)
		conn, err := source.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
	_, err = source.Connect(t.Context())
	require.Equal(t, "wrong_password", problem.Code(err), "the fourth token is unknown to the server")

	byFile := res
	byFile.PasswordFile = file
	source, err = server.Source(byFile)
	require.NoError(t, err)
	for _, word := range []string{"first", "second"} {
		require.NoError(t, os.WriteFile(file, []byte(word+"\n"), 0o600))
		db.Exec(t, `alter role app password '`+word+`'`)
		conn, err := source.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
}
