package control

import (
	"context"
	"fmt"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// checkShapes compiles new and changed functions, and reads the routes of new and changed sinks.
func (p *Plane) checkShapes(ctx context.Context, next *resource.Set, changes []Change) (warnings []string, err error) {
	if p.shapes == nil {
		return nil, nil
	}
	var mistakes []resource.Mistake
	for i := range changes {
		c := &changes[i]
		if c.Action == ActionDelete {
			continue
		}
		switch x := c.new.(type) {
		case *resource.Function:
			more, err := p.shapes.CheckFunction(ctx, x)
			for _, w := range more {
				warnings = append(warnings, fmt.Sprintf("function %q: %s", x.Name, w))
			}
			if err != nil {
				mistakes = append(mistakes, mistakeOf(fmt.Sprintf("functions[%d].code", indexOf(next.Functions, x)), err))
			}
		case *resource.Sink:
			for _, m := range p.shapes.CheckSink(next, x) {
				m.Path = fmt.Sprintf("sinks[%d].%s", indexOf(next.Sinks, x), m.Path)
				mistakes = append(mistakes, m)
			}
		}
	}
	if len(mistakes) > 0 {
		return warnings, &resource.InvalidError{Mistakes: mistakes}
	}
	return warnings, nil
}

// indexOf finds where in a list x points to.
func indexOf[T any](all []T, x *T) int {
	for i := range all {
		if &all[i] == x {
			return i
		}
	}
	return -1
}

// mistakeOf is an error as the mistake of one key.
func mistakeOf(path string, err error) resource.Mistake {
	m := resource.Mistake{Path: path, Code: resource.CodeInvalid, What: "is not right: " + err.Error()}
	if e, ok := problem.As(err); ok {
		m.What, m.Hint = "is not right: "+e.Message, e.Hint
	}
	return m
}
