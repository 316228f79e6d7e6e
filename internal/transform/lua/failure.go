package lua

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// How the engine begins messages, and the lines of a traceback: with the name of the chunk, which is the entry, and the line.
var (
	prefix = regexp.MustCompile(`^(?:transform|filter|route):(\d+): ?`)
	frame  = regexp.MustCompile(`\n\t(?:transform|filter|route):(\d+):`)
)

var tooManyCalls = fmt.Sprintf("more than %d calls inside one another: does the function call itself without end?", maxCalls)

// failure turns what the engine reports into an error with a place.
func (p *Program) failure(err error) error {
	raised, ok := errors.AsType[*lua.ApiError](err)
	if !ok {
		return p.at(language.Errorf(language.KindRuntime, "%v", err))
	}
	if raised.Type == lua.ApiErrorPanic { // the engine panicked: who knows what it left behind
		p.world = nil
		if strings.HasSuffix(raised.Object.String(), "callstack overflow") {
			return p.locate(language.Errorf(language.KindMemory, "%s", tooManyCalls), raised.StackTrace)
		}
		return p.at(language.Errorf(language.KindRuntime, "the Lua engine failed: %v", raised.Object))
	}
	text, isText := raised.Object.(lua.LString)
	if !isText {
		shown := p.raised(raised.Object)
		return p.locate(language.Errorf(language.KindRuntime, "raised %s", shown).With(shown), raised.StackTrace)
	}
	message, line := strings.TrimSpace(string(text)), ""
	if found := prefix.FindStringSubmatch(message); found != nil {
		message, line = strings.TrimSpace(message[len(found[0]):]), found[1]
	}
	if strings.HasSuffix(message, "stack overflow") {
		message = tooManyCalls
	}
	e := language.Errorf(p.kind(message), "%s", message)
	if p.message.Record != nil {
		e = e.With(string(p.message.Record[:min(len(p.message.Record), language.MaxValue+1)]))
	}
	if n, err := strconv.Atoi(line); err == nil {
		return e.At(n, 0)
	}
	return p.locate(e, raised.StackTrace)
}

// raised is a value that is no string as an error shows it: as its __tostring has it, if it has one.
func (p *Program) raised(v lua.LValue) string {
	l := p.world.state
	if method := l.GetMetaField(v, "__tostring"); v.Type() == lua.LTTable && method != lua.LNil {
		l.Push(method)
		l.Push(v)
		if err := l.PCall(1, 1, nil); err == nil {
			return l.Get(-1).String()
		}
	}
	if v == lua.LNil {
		return "nil"
	}
	return p.show(v)
}

func (p *Program) kind(message string) language.Kind {
	switch {
	case p.refusal != "" && strings.HasSuffix(message, p.refusal), message == tooManyCalls, strings.HasSuffix(message, "registry overflow"):
		return language.KindMemory
	}
	return language.KindRuntime
}

// locate gives an error the first place of a traceback.
func (p *Program) locate(e *language.Error, trace string) *language.Error {
	if found := frame.FindStringSubmatch(trace); found != nil {
		if line, err := strconv.Atoi(found[1]); err == nil {
			return e.At(line, 0)
		}
	}
	return p.at(e)
}
