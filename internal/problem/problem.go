// Package problem holds errors written for people: a stable code, what happened, why, and what to do about it. The HTTP API, the CLI, the
// logs and the health routes render the same value.
package problem

import (
	"errors"
	"fmt"
	"strings"
)

// Error is shaped like a Postgres error. Code has a page in docs/reference/errors.md; Hint is an action. None of them holds a secret.
type Error struct {
	Code    string // snake_case, stable
	Message string // what happened, lower case, no full stop
	Detail  string // what was seen
	Private string // what a row holds; for those who may read messages, never for the log or the health routes
	Hint    string // the command or SQL that repairs it
	Fields  map[string][]string
	Cause   error
}

// New makes an error with a code and a formatted message.
func New(code, format string, args ...any) *Error {
	e := &Error{Code: code}
	wrapped := fmt.Errorf(format, args...)
	e.Message = wrapped.Error()
	e.Cause = errors.Unwrap(wrapped)
	return e
}

// WithDetail returns e with what was seen.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithHint returns e with what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithPrivate returns e with what a row holds.
func (e *Error) WithPrivate(value string) *Error {
	e.Private = value
	return e
}

// CutValue parts a message of Postgres' form, 'invalid input syntax for type integer: "abc"', from the value at its end.
func CutValue(text string) (message, value string) {
	message, value, ok := strings.Cut(text, `: "`)
	if !ok {
		return text, ""
	}
	return message, `"` + value
}

// Public is an error's text without what rows hold.
func Public(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := As(err); ok && e.Private != "" {
		shown := *e
		shown.Private = ""
		return shown.Error()
	}
	return err.Error()
}

// Because returns e with its cause, for errors.Is and errors.As; the cause's text is not shown.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	if e.Private != "" {
		b.WriteString(": ")
		b.WriteString(e.Private)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Cause }

// Text renders the error for a terminal: message and code, then detail and hint on lines of their own.
func (e *Error) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  [%s]", e.Message, e.Code)
	if e.Detail != "" {
		fmt.Fprintf(&b, "\ndetail: %s", e.Detail)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "\nhint:   %s", e.Hint)
	}
	return b.String()
}

// As finds a problem in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Code is the code of the problem in err's chain, or "".
func Code(err error) string {
	if e, ok := As(err); ok {
		return e.Code
	}
	return ""
}
