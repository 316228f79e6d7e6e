package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/sequinstream/sequin/internal/transform/gobuild/sdk"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// program is a module with one instance, and what the instance was like when it had been initialised.
type program struct {
	runtime  *Runtime
	source   language.Source
	compiled wazero.CompiledModule
	globals  []string
	size     int
	world    world
	stack    [2]uint64

	instance *instance // nil after it was dropped; the next call makes another one
	image    *image
	saved    []uint64 // the globals of the image
	input    uint32   // where messages go, in the image
	inputLen int
	index    uint32 // where the index of a message goes, in the image, and how many words it may have; 0 for nowhere
	indexLen int
	words    []uint32

	mu      sync.Mutex
	calling bool
	flag    api.MutableGlobal // that interrupts the call under way
	cause   *language.Error
}

// instance is a module at work.
type instance struct {
	module  api.Module
	memory  *memory
	entry   api.Function
	alloc   api.Function
	globals []api.MutableGlobal
	context context.Context //nolint:containedctx // the host functions find their world in it; it never ends
}

// firstInput is the room for messages that a new instance makes; a message that is longer gets its own.
const firstInput = 64 << 10

func (p *program) newInstance() (*instance, error) {
	in := &instance{context: context.WithValue(context.Background(), worldKey{}, &p.world)}
	allocator := experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		in.memory = newMemory(min(most, uint64(p.runtime.options.Memory))) //nolint:gosec // positive
		return in.memory
	})
	ctx := experimental.WithMemoryAllocator(in.context, allocator)
	module, err := p.runtime.engine.InstantiateModule(ctx, p.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, p.failure(in, err)
	}
	in.module = module
	in.entry, in.alloc = module.ExportedFunction(string(p.source.Entry)), module.ExportedFunction(exportAlloc)
	for _, name := range p.globals {
		in.globals = append(in.globals, module.ExportedGlobal(name).(api.MutableGlobal)) //nolint:forcetypeassert // see rewrite
	}
	flag := module.ExportedGlobal(interruptExport).(api.MutableGlobal) //nolint:forcetypeassert // see rewrite
	p.mu.Lock()
	p.flag = flag
	p.mu.Unlock()
	return in, nil
}

// initialise makes the first instance, and keeps what it is like.
func (p *program) initialise() error {
	p.world.reset(nil)
	in, err := p.newInstance()
	if err != nil {
		return asSyntax(err)
	}
	p.instance = in
	if f := in.module.ExportedFunction(exportInit); f != nil {
		if _, err := f.Call(in.context); err != nil {
			return asSyntax(p.failure(in, err))
		}
	}
	at, err := p.allocate(in, firstInput)
	if err != nil {
		return asSyntax(err)
	}
	p.input, p.inputLen = at, firstInput
	if err := p.findIndex(in); err != nil {
		return asSyntax(err)
	}
	for _, g := range in.globals {
		p.saved = append(p.saved, g.Get())
	}
	p.image, err = in.memory.snapshot()
	return err
}

// findIndex asks a module whether it wants to be told where things are in a message, and where to write that.
func (p *program) findIndex(in *instance) error {
	f := in.module.ExportedFunction(exportIndex)
	if f == nil {
		return nil
	}
	if len(f.Definition().ParamTypes()) != 0 || !bytes.Equal(f.Definition().ResultTypes(), []api.ValueType{api.ValueTypeI32}) {
		return language.Errorf(language.KindSyntax, "its function %s must be () -> (i32)", exportIndex)
	}
	if err := f.CallWithStack(in.context, p.stack[:]); err != nil {
		return p.failure(in, err)
	}
	p.index = api.DecodeU32(p.stack[0])
	n, ok := in.module.Memory().ReadUint32Le(p.index)
	if _, fits := in.module.Memory().Read(p.index, n*wordSize); !ok || !fits || n > maxIndex {
		return language.Errorf(language.KindSyntax, "its function %s returned an address outside of its memory", exportIndex)
	}
	p.indexLen, p.words = int(n), make([]uint32, n)
	return nil
}

const (
	wordSize = 4
	maxIndex = 1 << 16
)

// writeIndex writes the index of a message.
func (p *program) writeIndex(message []byte) bool {
	if p.indexLen == 0 {
		return true
	}
	n := sdk.Index(message, p.words)
	room, ok := p.instance.module.Memory().Read(p.index, uint32(n*wordSize)) //nolint:gosec // at most maxIndex
	if !ok {
		return false
	}
	for i, w := range p.words[:n] {
		binary.LittleEndian.PutUint32(room[i*wordSize:], w)
	}
	return true
}

// asSyntax says that it was the code that failed before there was a message.
func asSyntax(err error) error {
	e, ok := errors.AsType[*language.Error](err)
	if !ok {
		return err
	}
	return (&language.Error{Kind: language.KindSyntax, Message: language.Cut("the module does not start: "+e.Message, language.MaxMessage)}).At(e.Line, e.Column)
}

// revive makes an instance like the first one was when it had been initialised.
func (p *program) revive() error {
	in, err := p.newInstance()
	if err != nil {
		return err
	}
	p.instance = in
	if more := p.image.len() - in.memory.len(); more > 0 {
		in.module.Memory().Grow(uint32(more / pageSize)) //nolint:gosec // as large as another instance was
	}
	return p.reset()
}

// reset makes the instance what it was when it had been initialised.
func (p *program) reset() error {
	for i, g := range p.instance.globals {
		g.Set(p.saved[i])
	}
	return p.instance.memory.restore(p.image)
}

func (p *program) allocate(in *instance, n int) (uint32, error) {
	p.stack[0] = uint64(n) //nolint:gosec // positive
	if err := in.alloc.CallWithStack(in.context, p.stack[:]); err != nil {
		return 0, p.failure(in, err)
	}
	at := api.DecodeU32(p.stack[0])
	if uint64(at)+uint64(n) > uint64(in.module.Memory().Size()) || at == 0 { //nolint:gosec // positive
		return 0, language.Errorf(language.KindResult, "the module's %s returned an address outside of its memory", exportAlloc)
	}
	return at, nil
}

// Call implements language.Program.
func (p *program) Call(dst, message []byte) ([]byte, error) {
	if p.instance == nil {
		if err := p.revive(); err != nil {
			return nil, err
		}
	}
	runtime.LockOSThread() // the memory counts the faults of this thread
	defer runtime.UnlockOSThread()
	p.world.reset(message)
	p.instance.memory.begin()
	p.begin()
	out, err := p.call(dst, message)
	cause := p.end()
	if e, ok := errors.AsType[*language.Error](err); ok && cause != nil && strings.HasPrefix(e.Message, trapped) {
		err = cause // the loop found the flag set; what else went wrong has its own name
	}
	if p.instance.memory.len() != p.image.len() || p.instance.module.IsClosed() {
		p.drop() // a memory does not become smaller
	} else if failed := p.reset(); failed != nil {
		return nil, failed
	}
	return out, err
}

func (p *program) begin() {
	p.mu.Lock()
	p.calling, p.cause = true, nil
	p.flag.Set(0)
	p.mu.Unlock()
}

func (p *program) end() *language.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calling = false
	return p.cause
}

// Interrupt implements language.Program.
func (p *program) Interrupt(cause *language.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calling {
		p.cause = cause
		p.flag.Set(1)
	}
}

func (p *program) call(dst, message []byte) ([]byte, error) {
	in, at := p.instance, p.input
	if len(message) > p.inputLen {
		var err error
		if at, err = p.allocate(in, len(message)); err != nil {
			return nil, err
		}
	}
	if !in.module.Memory().Write(at, message) || !p.writeIndex(message) {
		return nil, language.Errorf(language.KindResult, "the module has made its memory smaller")
	}
	p.stack[0], p.stack[1] = uint64(at), uint64(len(message))
	if err := in.entry.CallWithStack(in.context, p.stack[:]); err != nil {
		return nil, p.failure(in, err)
	}
	packed := p.stack[0]
	failed := packed>>63 != 0
	at, n := uint32(packed>>32)&^(1<<31), uint32(packed) //nolint:gosec // two halves
	result, ok := in.module.Memory().Read(at, n)
	switch {
	case !ok:
		return nil, language.Errorf(language.KindResult, "the result is outside of the module's memory")
	case failed:
		return nil, toldError(result)
	case len(result) > p.source.Output && p.source.Output > 0:
		return nil, language.Errorf(language.KindOutput, "the result has %d bytes; at most %d are taken", len(result), p.source.Output)
	}
	if err := p.checkResult(result); err != nil {
		return nil, err
	}
	return append(dst, result...), nil
}

func (p *program) checkResult(result []byte) error {
	text := func() string { return string(result[:min(len(result), language.MaxValue+1)]) }
	if !json.Valid(result) {
		return language.Errorf(language.KindResult, "what the function returned is no JSON").With(text())
	}
	switch trimmed := strings.TrimSpace(text()); {
	case p.source.Entry == language.Filter && trimmed != "true" && trimmed != "false":
		return language.Errorf(language.KindResult, "a filter returns true or false").With(text())
	case p.source.Entry == language.Route && !strings.HasPrefix(trimmed, "{"):
		return language.Errorf(language.KindResult, "a routing function returns an object").With(text())
	}
	return nil
}

// Size is about how much memory the program holds: compiled code is larger than a module.
func (p *program) Size() int {
	n := 5 * p.size
	if p.image != nil {
		n += 2 * p.image.len()
	}
	return n
}

// drop lets go of the instance.
func (p *program) drop() {
	if p.instance != nil && p.instance.module != nil {
		_ = p.instance.module.Close(context.Background()) // nothing in it can fail
	}
	p.instance = nil
}

// Close implements language.Program.
func (p *program) Close() error {
	p.drop()
	if p.image != nil {
		p.image.free()
	}
	return p.compiled.Close(context.Background())
}
