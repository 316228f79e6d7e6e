package embedded_test

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/engine/embedded"
	"github.com/sequinstream/sequin/internal/engine/embedded/powerloss"
)

// numbered is a block whose content tells its number.
func numbered(first uint64, size int) engine.Block {
	data := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.BigEndian.PutUint64(data[i:], first*31+uint64(i))
	}
	return engine.Block{First: first, Data: data}
}

// verify reads blocks 1 to last, and reports the last that is there in an unbroken run.
func verify(t *testing.T, l engine.Log, size int) (last uint64) {
	t.Helper()
	for seq := uint64(0); ; seq++ {
		b, err := l.Next(t.Context(), seq)
		if errors.Is(err, engine.ErrNotFound) {
			return seq
		}
		require.NoError(t, err)
		require.Equal(t, seq+1, b.First)
		require.Equal(t, numbered(b.First, size).Data, b.Data)
	}
}

// TestFullDiskLosesNothingAndWritingResumes fills a disk to the last byte, several times, with room for the log only.
func TestFullDiskLosesNothingAndWritingResumes(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	disk := powerloss.New()
	quota := newQuotaFS(disk.FS(), 6<<20)
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: quota, ReserveBytes: -1, MemtableBytes: 1 << 20})
	require.NoError(t, err)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)

	next, acked := uint64(1), uint64(0)
	for round := range 5 {
		for {
			err := l.Append(t.Context(), numbered(next, size))
			if err != nil {
				require.ErrorIs(t, err, engine.ErrNoSpace)
				break
			}
			acked = next
			next++
		}
		require.Less(t, next, uint64(2000), "the disk never fills")
		// Reads go on, and writes do not hang.
		require.GreaterOrEqual(t, verify(t, l, size), acked)
		if err := e.State().Apply(t.Context(), engine.Put("k", []byte{byte(round)})); err != nil { // a small one may still fit
			require.ErrorIs(t, err, engine.ErrNoSpace)
		}

		cut, err := disk.Cut(uint64(round)).Open(t.Context(), powerloss.Options{})
		require.NoError(t, err)
		cl, err := cut.Log(t.Context(), "a")
		require.NoError(t, err)
		require.GreaterOrEqual(t, verify(t, cl, size), acked, "after a power cut on the full disk")
		require.NoError(t, cut.Close())

		quota.grow(6 << 20) // enough for all that memory holds
		require.Eventually(t, func() bool {
			return e.State().Apply(t.Context(), engine.Put("k", []byte{byte(round), 1})) == nil
		}, 20*time.Second, 10*time.Millisecond, "writing does not resume")
		require.NoError(t, l.Append(t.Context(), numbered(next, size)), "the block that was refused may be repeated")
		acked = next
		next++
	}
	require.NoError(t, e.Close())
	e, err = embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: quota})
	require.NoError(t, err)
	l, err = e.Log(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, acked, verify(t, l, size))
	require.NoError(t, e.Close())
}

// TestCloseOnFullDisk must not wait for room.
func TestCloseOnFullDisk(t *testing.T) {
	t.Parallel()
	quota := newQuotaFS(powerloss.New().FS(), 12<<20)
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: quota, ReserveBytes: -1})
	require.NoError(t, err)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	acked := uint64(0)
	for l.Append(t.Context(), numbered(acked+1, 64<<10)) == nil {
		acked++
	}
	require.NoError(t, e.Close())
	quota.grow(50 << 20)
	e, err = embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: quota, ReserveBytes: -1})
	require.NoError(t, err)
	l, err = e.Log(t.Context(), "a")
	require.NoError(t, err)
	require.GreaterOrEqual(t, verify(t, l, 64<<10), acked)
	require.NoError(t, e.Close())
}

// TestOpenOnFullDisk says so, and leaves the store as it was.
func TestOpenOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := powerloss.New()
	e, err := disk.Open(t.Context(), powerloss.Options{})
	require.NoError(t, err)
	require.NoError(t, e.State().Apply(t.Context(), engine.Put("k", []byte("v"))))
	faults := &faultFS{FS: disk.Cut(1).FS()}
	require.NoError(t, e.Close())
	faults.set(func(op, _ string) error {
		if op == "write" || op == "create" {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err = embedded.Open(t.Context(), embedded.Options{Dir: powerloss.Dir, FS: faults})
	require.ErrorIs(t, err, engine.ErrNoSpace)
	faults.set(nil)
	e, err = embedded.Open(t.Context(), embedded.Options{Dir: powerloss.Dir, FS: faults})
	require.NoError(t, err)
	entry, err := e.State().Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(entry.Value))
	require.NoError(t, e.Close())
}

// TestAppendLeavesReserve keeps room for acks: appends stop before the disk is full, state writes and trims do not.
func TestAppendLeavesReserve(t *testing.T) {
	t.Parallel()
	quota := newQuotaFS(powerloss.New().FS(), 40<<20) // the default reserve is 8 MiB then
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: quota, MemtableBytes: 2 << 20})
	require.NoError(t, err)
	l, err := e.Log(t.Context(), "a")
	require.NoError(t, err)
	next := uint64(1)
	for ; err == nil; next++ {
		err = l.Append(t.Context(), numbered(next, 256<<10))
	}
	require.ErrorIs(t, err, engine.ErrNoSpace)
	require.NoError(t, e.State().Apply(t.Context(), engine.Put("k", []byte("v"))))
	require.NoError(t, l.TrimFront(t.Context(), next-2))
	require.Eventually(t, func() bool {
		return l.Append(t.Context(), numbered(next, 256<<10)) == nil
	}, 20*time.Second, 20*time.Millisecond, "a trim makes no room")
	require.NoError(t, e.Close())
}

// TestTablesThatCannotBeWritten makes flushes fail while the WAL has room: writes are refused before memory fills up, and resume.
func TestTablesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, errno := range map[string]syscall.Errno{"full": syscall.ENOSPC, "failing": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := &faultFS{FS: powerloss.New().FS()}
			e, err := embedded.Open(t.Context(), embedded.Options{Dir: "/data", FS: faults, MemtableBytes: 1 << 20})
			require.NoError(t, err)
			l, err := e.Log(t.Context(), "a")
			require.NoError(t, err)
			var refused atomic.Int64
			faults.set(func(op, base string) error {
				if op == "write" && (hasExt(base, ".sst") || hasExt(base, ".blob")) {
					refused.Add(1)
					return errno
				}
				return nil
			})
			next := uint64(1)
			for ; err == nil && next < 2000; next++ {
				err = l.Append(t.Context(), numbered(next, 128<<10))
			}
			require.ErrorIs(t, err, errno)
			require.Equal(t, errno == syscall.ENOSPC, errors.Is(err, engine.ErrNoSpace))
			require.GreaterOrEqual(t, verify(t, l, 128<<10), next-2)
			require.NotZero(t, refused.Load())
			faults.set(nil)
			require.Eventually(t, func() bool {
				return l.Append(t.Context(), numbered(next-1, 128<<10)) == nil
			}, 20*time.Second, 10*time.Millisecond, "writing does not resume")
			require.Equal(t, next-1, verify(t, l, 128<<10))
			require.NoError(t, e.Close())
		})
	}
}
