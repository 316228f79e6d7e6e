package javascript

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/dop251/goja"
)

// maxCalls is how many calls may be inside one another. Calls that go through built-in functions take some kilobytes of the Go stack each.
const maxCalls = 2000

//go:embed prelude.js
var prelude string

var compilePrelude = sync.OnceValues(func() (*goja.Program, error) { return goja.Compile("prelude.js", prelude, true) })

// realm is an interpreter whose language is frozen, with the code in it.
type realm struct {
	vm             *goja.Runtime
	factory        goja.Callable // evaluates the code and returns the entry
	entry          goja.Callable // if it need not be made anew
	yes, no        goja.Value
	exactPrototype *goja.Object

	freeze, define, get, keys, isArray goja.Callable
}

func newRealm(p *Program) (*realm, error) {
	vm := goja.New()
	vm.SetMaxCallStackSize(maxCalls)
	vm.SetTimeSource(p.now)
	vm.SetRandSource(p.roll)
	r := &realm{vm: vm, yes: vm.ToValue(true), no: vm.ToValue(false)}
	g := guard{p: p, vm: vm}
	var err error
	for _, f := range []struct {
		into         *goja.Callable
		object, name string
	}{
		{&r.freeze, "Object", "freeze"},
		{&r.keys, "Object", "keys"},
		{&r.get, "Reflect", "get"},
		{&r.isArray, "Array", "isArray"},
		{&g.stringOf, "", "String"},
		{&g.utc, "Date", "UTC"},
		{&g.parse, "Date", "parse"},
	} {
		if *f.into, err = function(vm, f.object, f.name); err != nil {
			return nil, err
		}
	}
	if err := r.harden(&g); err != nil {
		return nil, err
	}
	factory, err := vm.RunProgram(p.code.program)
	if err != nil {
		return nil, p.failure(err)
	}
	if _, err := r.freeze(goja.Undefined(), factory); err != nil {
		return nil, fmt.Errorf("freeze the code: %w", err)
	}
	r.factory, _ = goja.AssertFunction(factory)
	return r, nil
}

func function(vm *goja.Runtime, object, name string) (goja.Callable, error) {
	holder := vm.GlobalObject()
	if object != "" {
		holder = holder.Get(object).ToObject(vm)
	}
	f, ok := goja.AssertFunction(holder.Get(name))
	if !ok {
		return nil, fmt.Errorf("the engine has no %s.%s", object, name)
	}
	return f, nil
}

// harden runs the prelude.
func (r *realm) harden(g *guard) error {
	define, err := r.vm.RunString(`(function (o, k, value) { Object.defineProperty(o, k, { value, writable: true, enumerable: true, configurable: true }) })`)
	if err != nil {
		return fmt.Errorf("prepare the engine: %w", err)
	}
	r.define, _ = goja.AssertFunction(define)
	compiled, err := compilePrelude()
	if err != nil {
		return fmt.Errorf("compile the prelude: %w", err)
	}
	run, err := r.vm.RunProgram(compiled)
	if err != nil {
		return fmt.Errorf("run the prelude: %w", err)
	}
	prepare, _ := goja.AssertFunction(run)
	prototype, err := prepare(goja.Undefined(), g.host())
	if err != nil {
		return fmt.Errorf("run the prelude: %w", err)
	}
	r.exactPrototype = prototype.ToObject(r.vm)
	return nil
}
