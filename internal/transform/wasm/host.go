package wasm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/sequinstream/sequin/internal/transform/replay"
)

// What WASI gives to a module that has nothing: most calls answer that there is no such file. Those that tell a call something about the world are
// ours, and answer from the message, so that a message that is tried again gives the same result.

type worldKey struct{}

// world is what the host functions know of the call under way.
type world struct {
	message []byte
	now     time.Time // zero until it is asked for
	random  *rand.Rand
	stderr  []byte
}

const maxStderr = 8 << 10

func (w *world) reset(message []byte) {
	w.message, w.now, w.random, w.stderr = message, time.Time{}, nil, w.stderr[:0]
}

// beginning is the time before there is a message.
func beginning() time.Time { return time.Unix(0, 0) }

// metadata is that of the message, found when it is first asked for.
func (w *world) metadata() []byte {
	var m struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(w.message, &m); err != nil { // there is none yet
		return nil
	}
	return m.Metadata
}

// time is the moment of the commit, and what was slept since.
func (w *world) time() time.Time {
	if w.now.IsZero() {
		w.now = replay.Clock(w.metadata())
	}
	return w.now
}

func (w *world) fill(b []byte) {
	if w.random == nil {
		w.random = replay.Random(w.metadata())
	}
	for len(b) > 0 {
		n := copy(b, binary.LittleEndian.AppendUint64(nil, w.random.Uint64()))
		b = b[n:]
	}
}

// exited is thrown through a module that ends itself, which leaves the instance usable.
type exited uint32

func (exited) Error() string { return "the module ended itself" }

// The numbers of WASI that we answer with.
const (
	wasiSuccess   = 0
	wasiBadFile   = 8
	wasiFault     = 21
	clockRealtime = 0
	stderrFile    = 2
)

func worldOf(ctx context.Context) *world {
	return ctx.Value(worldKey{}).(*world) //nolint:forcetypeassert // every call has one
}

func provideHost(engine wazero.Runtime) error {
	b := engine.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	function := func(name string, f any) { b.NewFunctionBuilder().WithFunc(f).Export(name) }
	function("proc_exit", func(code uint32) { panic(exited(code)) })
	function("clock_res_get", func(_ context.Context, m api.Module, _, to uint32) uint32 {
		return put(m, to, uint64(time.Microsecond))
	})
	function("clock_time_get", func(ctx context.Context, m api.Module, clock uint32, _ uint64, to uint32) uint32 {
		now := worldOf(ctx).time()
		if clock != clockRealtime {
			return put(m, to, uint64(now.Sub(beginning())+time.Hour)) //nolint:gosec // any number does
		}
		return put(m, to, uint64(now.UnixNano()))
	})
	function("random_get", func(ctx context.Context, m api.Module, to, n uint32) uint32 {
		target, ok := m.Memory().Read(to, n)
		if !ok {
			return wasiFault
		}
		worldOf(ctx).fill(target)
		return wasiSuccess
	})
	function("poll_oneoff", poll)
	function("fd_write", write)
	_, err := b.Instantiate(context.Background())
	return err
}

func put(m api.Module, to uint32, v uint64) uint32 {
	if !m.Memory().WriteUint64Le(to, v) {
		return wasiFault
	}
	return wasiSuccess
}

// write takes what goes to standard error, and drops the rest.
func write(ctx context.Context, m api.Module, fd, vectors, count, wrote uint32) uint32 {
	if fd != 1 && fd != stderrFile {
		return wasiBadFile
	}
	total := uint32(0)
	for i := range min(count, 1024) {
		at, ok := m.Memory().ReadUint32Le(vectors + 8*i)
		n, ok2 := m.Memory().ReadUint32Le(vectors + 8*i + 4)
		part, ok3 := m.Memory().Read(at, n)
		if !ok || !ok2 || !ok3 {
			return wasiFault
		}
		total += n
		if w := worldOf(ctx); fd == stderrFile {
			w.stderr = append(w.stderr, part[:min(len(part), maxStderr-len(w.stderr))]...)
		}
	}
	if !m.Memory().WriteUint32Le(wrote, total) {
		return wasiFault
	}
	return wasiSuccess
}

// The layout of what poll_oneoff takes and answers.
const (
	subscriptionSize = 48
	eventSize        = 32
	eventClock       = 0
)

// poll lets a module sleep: that takes no time, but the module's own goes on. Anything else is not there to be waited for.
func poll(ctx context.Context, m api.Module, in, out, count, events uint32) uint32 {
	w, memory := worldOf(ctx), m.Memory()
	now := w.time()
	for i := range min(count, 1024) {
		s, ok := memory.Read(in+subscriptionSize*i, subscriptionSize)
		e, ok2 := memory.Read(out+eventSize*i, eventSize)
		if !ok || !ok2 {
			return wasiFault
		}
		clear(e)
		copy(e[:8], s[:8])
		if e[10] = s[8]; s[8] != eventClock {
			e[8] = wasiBadFile
			continue
		}
		timeout, absolute := int64(binary.LittleEndian.Uint64(s[24:])), s[40]&1 != 0 //nolint:gosec // checked below
		until := now.Add(time.Duration(max(timeout, 0)))
		if absolute {
			until = time.Unix(0, timeout)
			if s[16] != clockRealtime {
				until = beginning().Add(time.Duration(timeout) - time.Hour)
			}
		}
		if until.After(w.now) {
			w.now = until
		}
	}
	if !memory.WriteUint32Le(events, min(count, 1024)) {
		return wasiFault
	}
	return wasiSuccess
}
