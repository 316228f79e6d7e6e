package cli

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/client"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// Exit codes; docs/reference/cli.md explains them.
const (
	ExitOK          = 0
	ExitError       = 1 // it did not work
	ExitUsage       = 2 // wrong flags or arguments
	ExitInvalid     = 3 // the configuration is not valid
	ExitNotFound    = 4 // the server has no such thing
	ExitDenied      = 5 // the server does not let this token or session do that
	ExitUnreachable = 6 // the server does not answer
)

// exitError carries an exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// errSaid is an end that needs no more words.
var errSaid = errors.New("what was printed says it")

// usage is a mistake in flags or arguments that shows only when the command runs.
func usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// invalidCodes are those of answers about a declaration rather than about a request.
var invalidCodes = []string{ //nolint:gochecknoglobals // a table
	"validation_failed", resource.CodeInvalid, resource.CodeMissing, resource.CodeUnknownKey, resource.CodeDuplicate, resource.CodeReference,
	resource.CodeConflict, resource.CodeUnavailable, resource.CodeRetired, resource.CodeSyntax,
}

// exitCode tells what kind of failure an error is.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	if _, ok := errors.AsType[*client.UnreachableError](err); ok {
		return ExitUnreachable
	}
	if answer, ok := errors.AsType[*client.Error](err); ok {
		switch {
		case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
			return ExitDenied
		case len(answer.Problem.Fields) > 0 || slices.Contains(invalidCodes, answer.Problem.Code):
			return ExitInvalid
		case answer.Status == http.StatusNotFound:
			return ExitNotFound
		}
		return ExitError
	}
	if _, ok := errors.AsType[*resource.InvalidError](err); ok {
		return ExitInvalid
	}
	return ExitError
}

// text renders an error for a terminal: each problem with its detail and its hint, each of several errors on lines of its own.
func text(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts, lines []string
		for _, e := range joined.Unwrap() {
			parts, lines = append(parts, e.Error()), append(lines, text(e))
		}
		if strings.Join(parts, "\n") == err.Error() {
			return strings.Join(lines, "\n")
		}
	}
	p, ok := problem.As(err)
	if !ok {
		return err.Error()
	}
	context, _ := strings.CutSuffix(err.Error(), p.Error())
	if context == err.Error() {
		context = "" // the problem sums the error up
	}
	shown := *p
	if shown.Detail == "" {
		shown.Detail = fieldLines(p.Fields)
	}
	out := clean(context+shown.Text(), true)
	if answer, ok := errors.AsType[*client.Error](err); ok && answer.RequestID != "" {
		out += "\nrequest: " + clean(answer.RequestID, false)
	}
	return out
}

// fieldLines lists what is wrong with each key, for servers whose summary does not.
func fieldLines(fields map[string][]string) string {
	var lines []string
	for path, texts := range fields {
		for _, t := range texts {
			lines = append(lines, strings.TrimSpace(path+" "+t))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
