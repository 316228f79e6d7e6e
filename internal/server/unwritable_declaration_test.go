package server_test

import (
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/server"
)

// fullFS is a disk that can be full: nothing can be written then.
type fullFS struct {
	vfs.FS
	full *atomic.Bool
}

func (f fullFS) file(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return fullFile{file, f.full}, nil
}

func (f fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() {
		return nil, syscall.ENOSPC
	}
	return f.file(f.FS.Create(name, c))
}

func (f fullFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(f.FS.ReuseForWrite(from, to, c))
}

func (f fullFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file(f.FS.OpenReadWrite(name, c, o...))
}

type fullFile struct {
	vfs.File
	full *atomic.Bool
}

func (f fullFile) Write(p []byte) (int, error) {
	if f.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

func (f fullFile) WriteAt(p []byte, at int64) (int, error) {
	if f.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, at)
}

// A declaration that has changed and cannot be written stops nobody: what was declared before is served, health is red with the reason, and the
// declaration takes effect as soon as there is room. At a start and at a reload alike.
func TestDeclarationThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	e, err := powerloss.New().Open(t.Context(), powerloss.Options{Wrap: func(disk vfs.FS) vfs.FS { return fullFS{disk, &full} }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	const two = "  - {name: two, database: db, destination: {type: sequin_stream}}\n"
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.opts.Engine, r.opts.Instance, r.opts.DataDir = e, e.Instance(), ""
	r.opts.VaultKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	r.begin()
	r.db.Exec(t, "insert into t values (1)")
	require.Equal(t, []string{"1"}, r.receive("pull", 1))
	r.end()

	full.Store(true)
	r.config.Sinks = pull + two
	r.start()
	refused := r.troubled("declaration", "declaration_not_applied")
	require.Contains(t, refused.Problems[0].Detail, "no space left")
	require.Contains(t, refused.Problems[0].Hint, "make room")
	status, _ := r.get("/healthz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, r.entity("pull").Status, "what was declared before is there")
	require.Empty(t, r.entity("two").Name)
	full.Store(false)
	r.healthy()
	require.Empty(t, r.entity("declaration").Name)
	r.db.Exec(t, "insert into t values (2)")
	for _, name := range []string{"pull", "two"} {
		require.Equal(t, []string{"2"}, r.receive(name, 1), "%s", name)
	}

	full.Store(true)
	r.config.Sinks = pull + two + "  - {name: three, database: db, destination: {type: sequin_stream}}\n"
	r.reload <- r.document()
	r.troubled("declaration", "declaration_not_applied")
	require.Empty(t, r.entity("three").Name)
	// A later document takes its place, though it be the one that is in force.
	r.config.Sinks = pull + two
	r.reload <- r.document()
	full.Store(false)
	r.healthy()
	require.Empty(t, r.entity("three").Name)
}

// A document with a mistake ends the start, whatever the storage is like.
func TestMistakenDeclarationEndsTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.opts.DataDir = filepath.Join(r.dir, "mistaken")
	s, err := server.New(t.Context(), r.opts)
	require.NoError(t, err)
	var invalid *resource.InvalidError
	require.ErrorAs(t, s.Run(t.Context(), document("sinks: [{name: x}]"), nil), &invalid)
}
