package javascript

import (
	"errors"
	"regexp"
	"strconv"

	"github.com/dop251/goja"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// fault handles a panic that went past the interpreter: an interrupt that met a built-in function, or a mistake of the engine, after which
// nothing in it can be relied on.
func (p *Program) fault(fault any) error {
	if err, ok := fault.(error); ok {
		var interrupted *goja.InterruptedError
		var exception *goja.Exception
		var overflow *goja.StackOverflowError
		if errors.As(err, &interrupted) || errors.As(err, &exception) || errors.As(err, &overflow) {
			return p.failure(err)
		}
	}
	p.mu.Lock()
	p.realm = nil
	p.mu.Unlock()
	return p.at(language.Errorf(language.KindRuntime, "the JavaScript engine failed: %v", fault))
}

// failure turns what the engine reports into an error with a place.
func (p *Program) failure(err error) error {
	var interrupted *goja.InterruptedError
	var overflow *goja.StackOverflowError
	var exception *goja.Exception
	switch {
	case errors.As(err, &interrupted):
		if cause, ok := interrupted.Value().(*language.Error); ok {
			return p.locate(cause, interrupted.Stack())
		}
	case errors.As(err, &overflow):
		e := language.Errorf(language.KindMemory, "more than %d calls inside one another: does the function call itself without end?", maxCalls)
		return p.locate(e, overflow.Stack())
	case errors.As(err, &exception):
		return p.thrown(exception.Value(), exception.Stack())
	}
	return p.at(language.Errorf(language.KindRuntime, "%v", err))
}

// thrown is the error for a value that the code threw.
func (p *Program) thrown(value goja.Value, stack []goja.StackFrame) error {
	object, ok := value.(*goja.Object)
	if !ok || object.ClassName() != "Error" {
		shown := p.show(value)
		return p.locate(language.Errorf(language.KindRuntime, "threw %s", shown).With(shown), stack)
	}
	text := ""
	if p.realm.vm.Try(func() { text = object.String() }) != nil || text == "" {
		text = "threw an error without a message"
	}
	kind := language.KindRuntime
	if object == p.refused {
		kind = p.refusal
	}
	e := language.Errorf(kind, "%s", text)
	if len(stack) == 0 { // the engine threw it from within an operator, or it comes from a promise
		e = p.traced(e, object)
	}
	if p.message.Record != nil {
		e = e.With(string(p.message.Record[:min(len(p.message.Record), language.MaxValue+1)]))
	}
	return p.locate(e, stack)
}

var traceLine = regexp.MustCompile(`(?m)^\tat .*?<eval>:(\d+):(\d+)\(\d+\)`)

// traced gives an error the place that the text of its stack begins with.
func (p *Program) traced(e *language.Error, object *goja.Object) *language.Error {
	text := ""
	if p.realm.vm.Try(func() { text = object.Get("stack").String() }) != nil {
		return e
	}
	found := traceLine.FindStringSubmatch(text)
	if found == nil {
		return e
	}
	line, _ := strconv.Atoi(found[1])
	column, _ := strconv.Atoi(found[2])
	return e.At(line, characters(p.code.text, line, column))
}

// locate gives an error the place of the innermost frame that is in the code, and not in what belongs to the language.
func (p *Program) locate(e *language.Error, stack []goja.StackFrame) *language.Error {
	for i := range stack {
		if stack[i].SrcName() != "" {
			continue
		}
		if position := stack[i].Position(); position.Line > 0 {
			return e.At(position.Line, characters(p.code.text, position.Line, position.Column))
		}
	}
	return p.at(e)
}

// placed is the cause of an interrupt with the place that the error which came of it has.
func placed(cause *language.Error, err error) *language.Error {
	if e, ok := errors.AsType[*language.Error](err); ok {
		return cause.At(e.Line, e.Column)
	}
	return cause
}
