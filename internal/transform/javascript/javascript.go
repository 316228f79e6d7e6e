// Package javascript runs functions written in JavaScript, as goja has it: ES2015 and most of what came later, in strict mode, as a script.
//
// Nothing outlives a call. What the code says outside its functions is evaluated anew for each, inside a function of its own, so that its
// variables are fresh; the global object and all that belongs to the language (Object.prototype, Math, …) is frozen once. A frozen prototype
// would forbid plain objects a key of their own named toString or constructor; those are accessors that define the key where it is assigned.
//
// Numbers that a double does not hold are a BigInt, or, with a fraction or an exponent, a frozen object that has the digits. Values that come
// out of a message and are written back from the same place keep their text (1.10, 1e2). Keys keep their order; only keys that are array
// indexes ("0", "42") come first and ascending, as the language says. Everything that could differ between two runs is taken from the change:
// Date stands still at the commit, in UTC, and Math.random is seeded by the idempotency key. console does nothing.
//
// A call ends at Interrupt before the next operation of the interpreter. The built-in functions that could work or allocate for long in one
// go are bounded. Regular expressions that need backtracking cannot be interrupted; one that takes longer than matchTimeout ends its call.
package javascript

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/replay"
)

// matchTimeout bounds one match of a regular expression.
const matchTimeout = 800 * time.Millisecond

// limitMatches tells the library below goja once; it has no other way to pass the limit.
var limitMatches = sync.OnceFunc(func() { regexp2.DefaultMatchTimeout = matchTimeout })

// Runtime is the language.
type Runtime struct{}

var _ language.Runtime = Runtime{}

// Compile checks the code and makes it ready to run.
func (Runtime) Compile(s language.Source) (language.Program, error) {
	limitMatches()
	code, err := parse(s)
	if err != nil {
		return nil, err
	}
	p := &Program{source: s, code: code, names: map[string]string{}, texts: map[string]goja.Value{}}
	if err := p.furnish(); err != nil {
		return nil, err
	}
	return p, nil
}

// Program is a function that can be called.
type Program struct {
	source language.Source
	code   *code
	realm  *realm                // nil after a fault of the engine, which may have left anything behind
	names  map[string]string     // of keys, so that each is allocated once
	texts  map[string]goja.Value // the same for values that repeat

	message    jsontext.Message // of the call under way
	clock      time.Time        // zero until it is asked for
	random     *rand.Rand
	odd        map[*goja.Object][]oddNumber // numbers to be written as they were read
	exact      map[*goja.Object]string      // the objects that stand for numbers which a double does not hold
	refused    *goja.Object                 // the error that was thrown last because of a limit
	refusal    language.Kind                // and its kind
	joining    []*goja.Object               // arrays that are becoming text
	generators int                          // that are running inside one another

	mu      sync.Mutex
	running bool
	cause   *language.Error
	stopped atomic.Bool // cause is set
}

func (p *Program) furnish() error {
	realm, err := newRealm(p)
	if err != nil {
		return err
	}
	p.realm = realm
	return nil
}

// Call runs the function on a message.
func (p *Program) Call(dst, message []byte) (out []byte, err error) {
	parts, err := jsontext.Split(message)
	if err != nil {
		return dst, fmt.Errorf("message: %w", err)
	}
	if p.realm == nil {
		if err := p.furnish(); err != nil {
			return dst, err
		}
	}
	p.begin(parts)
	defer func() {
		if fault := recover(); fault != nil {
			out, err = dst, p.fault(fault)
		}
		if cause := p.end(); cause != nil {
			out, err = dst, placed(cause, err)
		}
	}()
	return p.run(dst)
}

func (p *Program) begin(parts jsontext.Message) {
	p.message = parts
	p.clock, p.random, p.refused, p.joining, p.generators = time.Time{}, nil, nil, nil, 0
	clear(p.odd)
	clear(p.exact)
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
		if p.realm != nil {
			p.realm.vm.ClearInterrupt()
		}
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
	if p.realm != nil { // else the engine has just failed, and the call is about to end
		p.realm.vm.Interrupt(cause)
	}
}

// Close gives up the state. Nothing is held but memory.
func (p *Program) Close() error {
	p.realm = nil
	return nil
}

func (p *Program) run(dst []byte) ([]byte, error) {
	var arguments [parameters]goja.Value
	if err := p.read(&arguments); err != nil {
		return dst, err
	}
	function, err := p.evaluate()
	if err != nil {
		return dst, err
	}
	result, err := function(goja.Undefined(), arguments[:]...)
	if err != nil {
		return dst, p.failure(err)
	}
	if result, err = p.settled(result); err != nil {
		return dst, err
	}
	if err := p.wellTyped(result); err != nil {
		return dst, err
	}
	return p.write(dst, result)
}

// evaluate runs the code outside of functions and returns the entry.
func (p *Program) evaluate() (goja.Callable, error) {
	if p.realm.entry != nil {
		return p.realm.entry, nil
	}
	made, err := p.realm.factory(goja.Undefined())
	if err != nil {
		return nil, p.failure(err)
	}
	function, ok := goja.AssertFunction(made)
	if !ok {
		return nil, p.at(language.Errorf(language.KindRuntime, "%s is not a function, but %s", p.source.Entry, describe(made)))
	}
	if p.code.lone {
		p.realm.entry = function
	}
	return function, nil
}

var promiseType = reflect.TypeFor[*goja.Promise]()

// settled is what an async function came to. Its jobs have all run when the call returns.
func (p *Program) settled(result goja.Value) (goja.Value, error) {
	object, ok := result.(*goja.Object)
	if !ok || object.ExportType() != promiseType {
		return result, nil
	}
	promise, ok := object.Export().(*goja.Promise)
	if !ok {
		return result, nil
	}
	switch promise.State() {
	case goja.PromiseStateFulfilled:
		return promise.Result(), nil
	case goja.PromiseStateRejected:
		return nil, p.thrown(promise.Result(), nil)
	default:
		return nil, p.at(language.Errorf(language.KindResult, "%s returned a promise that nothing will ever settle", p.source.Entry))
	}
}

// wellTyped checks that the result is what the entry returns.
func (p *Program) wellTyped(result goja.Value) error {
	entry := p.source.Entry
	switch {
	case entry == language.Filter:
		if result != p.realm.yes && result != p.realm.no {
			return p.unwanted("filter returned %s, not true or false", result)
		}
	case entry == language.Route:
		object, ok := result.(*goja.Object)
		if !ok || !p.plain(object) {
			return p.unwanted("route returned %s, not an object", result)
		}
	case goja.IsUndefined(result):
		return p.at(language.Errorf(language.KindResult, "%s returned nothing; return null to deliver null", entry))
	}
	return nil
}

func (p *Program) unwanted(format string, result goja.Value) error {
	e := language.Errorf(language.KindResult, format, describe(result))
	if !goja.IsUndefined(result) {
		e = e.With(p.show(result))
	}
	return p.at(e)
}

// at gives an error the place of the function.
func (p *Program) at(e *language.Error) *language.Error { return e.At(p.code.line, p.code.column) }

func (p *Program) plain(o *goja.Object) bool {
	if _, number := p.exact[o]; number {
		return false
	}
	switch o.ClassName() {
	case "Array", "Function", "String", "Number", "Boolean", "BigInt", "Date":
		return false
	}
	return true
}

func (p *Program) now() time.Time {
	if p.clock.IsZero() {
		p.clock = replay.Clock(p.message.Metadata)
	}
	return p.clock
}

func (p *Program) roll() float64 {
	if p.random == nil {
		p.random = replay.Random(p.message.Metadata)
	}
	return p.random.Float64()
}
