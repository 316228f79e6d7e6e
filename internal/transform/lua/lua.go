// Package lua runs functions written in Lua 5.1, as gopher-lua has it.
//
// Nothing outlives a call. What the code says outside its functions is evaluated anew for each, with a table of globals of its own in which the
// libraries are copies too. What all calls share, the built-in functions and the metatables of strings, numbers and null, cannot be reached to
// be changed.
//
// Numbers that a double does not hold are a userdata that has the digits and takes part in arithmetic and, as Lua alone would not have it, in
// comparisons with numbers: for that, < and its like are calls in the compiled code. Values that come out of a message and are written back
// from the same place keep their text (1.10, 1e2). Keys keep their order, and null is a value of its own. Time is the commit of the change and
// UTC; math.random is seeded by the idempotency key; tostring of a table counts instead of telling an address. print does nothing.
//
// A call ends at Interrupt before the next instruction, and within the functions of the string and table libraries, which are ours: they count
// their steps and bound what they make.
package lua

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/replay"
)

const (
	maxCalls    = 1000    // that may be inside one another; those through built-in functions take about a kilobyte of the Go stack each
	maxValues   = 1 << 18 // on the stack of the interpreter
	maxText     = 64 << 20
	maxElements = 4 << 20 // that one call of a built-in function works on, and the highest index that a table keeps as an array: 64 MiB
)

// limitTables tells gopher-lua once how long an array may get by the assignment of one element; beyond, the element is a key like any other.
var limitTables = sync.OnceFunc(func() { lua.MaxArrayIndex = maxElements })

// Runtime is the language.
type Runtime struct{}

var _ language.Runtime = Runtime{}

// Compile checks the code and makes it ready to run.
func (Runtime) Compile(s language.Source) (language.Program, error) {
	limitTables()
	code, err := load(s)
	if err != nil {
		return nil, err
	}
	p := &Program{source: s, code: code, names: map[string]lua.LString{}, done: make(chan struct{})}
	p.furnish()
	return p, nil
}

// Program is a function that can be called.
type Program struct {
	source language.Source
	code   *code
	world  *world                 // nil after a fault of the engine, which may have left anything behind
	names  map[string]lua.LString // of keys, so that each is allocated once

	message jsontext.Message // of the call under way
	clock   time.Time        // zero until it is asked for
	random  *rand.Rand
	marks   map[*lua.LTable]mark        // what a table is to become
	odd     map[*lua.LTable][]oddNumber // numbers to be written as they were read
	exact   map[string]*lua.LUserData   // numbers that a double does not hold, one value for each
	seen    map[lua.LValue]int          // in the order in which tostring met them
	refusal string                      // the message of the last error because of a limit
	fuel    int                         // steps until the next look for an interrupt

	mu      sync.Mutex
	running bool
	cause   *language.Error
	done    chan struct{} // closed at an interrupt
	stopped atomic.Bool
}

// mark tells arrays and objects apart.
type mark int8

const (
	isArray mark = iota + 1
	isObject
)

// oddNumber is a number that was written in another way than ours.
type oddNumber struct {
	key    string
	index  int
	double lua.LNumber
	text   string
}

// stop is the context of the interpreter, which looks at it before each instruction.
type stop struct{ p *Program }

func (stop) Deadline() (time.Time, bool) { return time.Time{}, false }
func (s stop) Done() <-chan struct{}     { return s.p.done }
func (stop) Value(any) any               { return nil }
func (s stop) Err() error {
	if s.p.stopped.Load() {
		return context.Canceled
	}
	return nil
}

// Call runs the function on a message.
func (p *Program) Call(dst, message []byte) (out []byte, err error) {
	parts, err := jsontext.Split(message)
	if err != nil {
		return dst, fmt.Errorf("message: %w", err)
	}
	if p.world == nil {
		p.furnish()
	}
	p.begin(parts)
	out, err = p.run(dst)
	if cause := p.end(); cause != nil {
		return dst, placed(cause, err)
	}
	return out, err
}

func (p *Program) begin(parts jsontext.Message) {
	p.message = parts
	p.clock, p.random, p.refusal, p.fuel = time.Time{}, nil, "", fuel
	clear(p.marks)
	clear(p.odd)
	clear(p.exact)
	clear(p.seen)
	p.mu.Lock()
	p.running = true
	p.mu.Unlock()
}

// end closes the door to Interrupt and returns what it left.
func (p *Program) end() *language.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cause := p.cause
	p.running, p.cause = false, nil
	if cause != nil {
		p.stopped.Store(false)
		p.done = make(chan struct{})
	}
	return cause
}

// Interrupt ends the call under way.
func (p *Program) Interrupt(cause *language.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running || p.cause != nil {
		return
	}
	p.cause = cause
	p.stopped.Store(true)
	close(p.done)
}

// Close gives up the state. Nothing is held but memory.
func (p *Program) Close() error {
	p.world = nil
	return nil
}

func (p *Program) run(dst []byte) ([]byte, error) {
	l := p.world.state
	defer l.SetTop(0)
	if err := p.evaluate(); err != nil {
		return dst, err
	}
	_, ok := l.Get(-1).(*lua.LFunction)
	if !ok {
		return dst, p.at(language.Errorf(language.KindRuntime, "%s is not a function, but %s", p.source.Entry, describe(l.Get(-1))))
	}
	if err := p.read(); err != nil {
		return dst, err
	}
	if err := l.PCall(parameters, 1, nil); err != nil {
		return dst, p.failure(err)
	}
	result := l.Get(-1)
	if err := p.wellTyped(result); err != nil {
		return dst, err
	}
	return p.write(dst, result)
}

// evaluate runs the code outside of functions, and leaves the entry on the stack.
func (p *Program) evaluate() error {
	l := p.world.state
	chunk := l.NewFunctionFromProto(p.code.proto)
	chunk.Env = p.world.globals()
	l.Push(chunk)
	for _, f := range p.world.operators {
		l.Push(f)
	}
	if err := l.PCall(len(p.world.operators), 1, nil); err != nil {
		return p.failure(err)
	}
	return nil
}

// wellTyped checks that the result is what the entry returns.
func (p *Program) wellTyped(result lua.LValue) error {
	entry := p.source.Entry
	switch {
	case entry == language.Filter:
		if result.Type() != lua.LTBool {
			return p.unwanted("filter returned %s, not true or false", result)
		}
	case entry == language.Route:
		if table, ok := result.(*lua.LTable); !ok || p.marks[table] == isArray || p.marks[table] == 0 && table.MaxN() > 0 {
			return p.unwanted("route returned %s, not an object", result)
		}
	case result == lua.LNil:
		return p.at(language.Errorf(language.KindResult, "%s returned nothing; return null to deliver null", entry))
	}
	return nil
}

func (p *Program) unwanted(format string, result lua.LValue) error {
	e := language.Errorf(language.KindResult, format, describe(result))
	if result != lua.LNil {
		e = e.With(p.show(result))
	}
	return p.at(e)
}

// at gives an error the place of the function.
func (p *Program) at(e *language.Error) *language.Error { return e.At(p.code.line, 0) }

// placed is the cause of an interrupt with the place that the error which came of it has.
func placed(cause *language.Error, err error) *language.Error {
	if e, ok := errors.AsType[*language.Error](err); ok {
		return cause.At(e.Line, e.Column)
	}
	return cause
}

func (p *Program) now() time.Time {
	if p.clock.IsZero() {
		p.clock = replay.Clock(p.message.Metadata)
	}
	return p.clock
}

func (p *Program) dice() *rand.Rand {
	if p.random == nil {
		p.random = replay.Random(p.message.Metadata)
	}
	return p.random
}

// fuel is how many steps a built-in function takes between two looks for an interrupt.
const fuel = 1000

// step counts a step of a built-in function and ends the call if it is to end.
func (p *Program) step() {
	if p.fuel--; p.fuel > 0 {
		return
	}
	p.fuel = fuel
	if p.stopped.Load() {
		p.world.state.RaiseError("interrupted")
	}
}

// refuse raises an error that counts as one of memory if nobody catches it.
func (p *Program) refuse(format string, args ...any) {
	p.refusal = fmt.Sprintf(format, args...)
	p.world.state.RaiseError("%s", p.refusal)
}

func (p *Program) bound(bytes float64, what string) {
	if bytes > maxText {
		p.refuse("%s would make a text of more than 64 MiB", what)
	}
}
