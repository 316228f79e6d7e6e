package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// statusError is an error that knows its HTTP status.
type statusError struct {
	status  int
	problem *problem.Error
	generic bool // also has the body of errors that no handler raised: {"errors":{"detail":"Bad Request"}}
	refusal *refusal
	wait    time.Duration // before the request is worth another try; 0 for a second
}

// refusal are the keys that some of the original's replies have beside or in place of a summary.
type refusal struct {
	Success bool   `json:"success"`
	Error   string `json:"error,omitempty"`
	Reason  any    `json:"reason,omitempty"` // a text, or an object in the replies of 2024
}

func (e *statusError) Error() string { return e.problem.Error() }
func (e *statusError) Unwrap() error { return e.problem }

func (e *statusError) detail(text string) *statusError {
	e.problem = e.problem.WithDetail("%s", text)
	return e
}

func (e *statusError) hint(text string) *statusError {
	e.problem = e.problem.WithHint("%s", text)
	return e
}

func (e *statusError) because(cause error) *statusError {
	e.problem = e.problem.Because(cause)
	return e
}

// plain is an error raised before or outside a handler.
func plain(status int, code, message string) *statusError {
	return &statusError{status: status, problem: problem.New(code, "%s", message), generic: true}
}

func badRequest(code, format string, args ...any) *statusError {
	return &statusError{status: http.StatusBadRequest, problem: problem.New(code, format, args...)}
}

func badParameter(name, format string, args ...any) *statusError {
	return badRequest("invalid_parameter", "%s %s", name, fmt.Sprintf(format, args...))
}

func errContentType() *statusError {
	return badRequest("content_type", "the content type must be application/json").hint("send Content-Type: application/json")
}

func errTooLarge(limit int64) *statusError {
	return plain(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("the body is larger than %d bytes", limit))
}

func errInternal() *statusError {
	return plain(http.StatusInternalServerError, "internal_error", "something went wrong in the server").
		hint("the server's log has the cause under this x-request-id")
}

// CodeTooManyWaiting is the code of the error that a Stream returns when max_waiting long polls are waiting already.
const CodeTooManyWaiting = "too_many_waiting"

// statuses are those of problems that come from below.
var statuses = map[string]int{
	auth.CodeMissing:       http.StatusUnauthorized,
	auth.CodeDuplicated:    http.StatusUnauthorized,
	auth.CodeNotBearer:     http.StatusUnauthorized,
	auth.CodeUnknownToken:  http.StatusUnauthorized,
	auth.CodeExpired:       http.StatusUnauthorized,
	"sign_in_failed":       http.StatusUnauthorized,
	auth.CodeScope:         http.StatusForbidden,
	auth.CodeRole:          http.StatusForbidden,
	"setup_link_invalid":   http.StatusForbidden,
	auth.CodeThrottled:     http.StatusTooManyRequests,
	auth.CodeTooManyLogins: http.StatusTooManyRequests,
	CodeTooManyWaiting:     http.StatusTooManyRequests,
	"invalid_ack_id":       http.StatusBadRequest,
	"account_in_document":  http.StatusBadRequest,
	"token_differs":        http.StatusBadRequest,
	"too_far_ahead":        http.StatusConflict,
	"revision_conflict":    http.StatusConflict,
	"token_from_file":      http.StatusConflict,
	"not_found":            http.StatusNotFound,
	"account_not_found":    http.StatusNotFound,
	"api_token_not_found":  http.StatusNotFound,
	"user_not_found":       http.StatusNotFound,
	"revision_not_found":   http.StatusNotFound,
	"validation_failed":    http.StatusUnprocessableEntity,
	"account_exists":       http.StatusUnprocessableEntity,
	"account_in_use":       http.StatusUnprocessableEntity,
	"last_owner":           http.StatusUnprocessableEntity,
	CodeUnavailableFeature: http.StatusUnprocessableEntity,
	"not_redrivable":       http.StatusConflict,
	"too_many_redrives":    http.StatusConflict,
	"message_not_found":    http.StatusNotFound,
	"database_not_found":   http.StatusNotFound,
	"sink_not_found":       http.StatusNotFound,

	"history_trimmed":     http.StatusConflict,
	"beyond_log_end":      http.StatusConflict,
	"move_skips_messages": http.StatusConflict,
	"search_unfinished":   http.StatusConflict,
	"nothing_to_undo":     http.StatusConflict,
	"sink_disabled":       http.StatusConflict,
	"no_such_message":     http.StatusNotFound,
	"where_invalid":       http.StatusUnprocessableEntity,
	"table_facts_unknown": http.StatusServiceUnavailable,

	"no_messages":                 http.StatusNotFound,
	"message_not_whole":           http.StatusUnprocessableEntity,
	"enrichment_needs_changes":    http.StatusUnprocessableEntity,
	"enrichment_failed":           http.StatusUnprocessableEntity,
	"function_invalid":            http.StatusUnprocessableEntity,
	"functions_unavailable":       http.StatusServiceUnavailable,
	"function_worker_unavailable": http.StatusServiceUnavailable,
}

// CodeUnavailableFeature is the code of what a later release will do.
const CodeUnavailableFeature = resource.CodeUnavailable

// classify finds the status and the problem to show.
func classify(err error) *statusError {
	var s *statusError
	switch {
	case errors.As(err, &s):
		return s
	case errors.Is(err, context.DeadlineExceeded):
		return &statusError{status: http.StatusGatewayTimeout, problem: problem.New("request_timeout", "the request took too long").
			WithHint("look whether it took effect before you send it again").Because(err)}
	case errors.Is(err, engine.ErrNoSpace):
		return &statusError{status: http.StatusServiceUnavailable, problem: problem.New("no_space", "the disk is full, so nothing can be recorded").
			WithHint("make room in the data directory; it goes on by itself").Because(err)}
	case errors.Is(err, consumer.ErrStopped), errors.Is(err, engine.ErrClosed):
		return &statusError{status: http.StatusServiceUnavailable, problem: problem.New("stopping", "the stream is stopping or starting; try again").Because(err)}
	}
	if invalid, ok := errors.AsType[*resource.InvalidError](err); ok {
		return invalidStatus(http.StatusUnprocessableEntity, invalid)
	}
	if p, ok := problem.As(err); ok {
		status, known := statuses[p.Code]
		if !known {
			status = http.StatusInternalServerError
		}
		e := &statusError{status: status, problem: p}
		if throttled, ok := errors.AsType[*auth.ThrottledError](err); ok {
			e.wait = throttled.After
		}
		return e
	}
	return errInternal().because(err)
}

// errorBody is the one shape of errors. The first two keys are the original's.
type errorBody struct {
	Errors *genericBody `json:"errors,omitempty"`
	*refusal
	Summary          string `json:"summary"`
	ValidationErrors any    `json:"validation_errors,omitempty"`
	Code             string `json:"code,omitempty"`
	Detail           string `json:"detail,omitempty"`
	Hint             string `json:"hint,omitempty"`
	Docs             string `json:"docs,omitempty"`
}

type genericBody struct {
	Detail string `json:"detail"`
}

// fail answers with an error, and logs it if it is the server's fault. A client that has gone gets no answer.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	e := classify(err)
	p := e.problem
	if e.status == http.StatusInternalServerError {
		a.logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "request_id", w.Header().Get(requestIDHeader), "error", err)
	}
	body := errorBody{refusal: e.refusal, Summary: p.Message, Code: p.Code, Detail: p.Detail, Hint: p.Hint}
	if len(p.Fields) > 0 {
		body.ValidationErrors = nest(p.Fields)
	}
	if p.Code != "" {
		body.Docs = a.docs + p.Code
	}
	if e.generic {
		body.Errors = &genericBody{Detail: http.StatusText(e.status)}
	}
	switch e.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(max(retryAfterSeconds, int(math.Ceil(e.wait.Seconds())))))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if jsonErr := enc.Encode(body); jsonErr != nil { // cannot happen: the body holds texts only
		a.logger.Error("error body could not be encoded", "error", jsonErr)
	}
	a.write(w, e.status, bytes.TrimSpace(text.Bytes()))
}

const retryAfterSeconds = 1

func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	a.fail(w, r, plain(http.StatusNotFound, "route_not_found", fmt.Sprintf("there is no route %s %s", r.Method, clip(r.URL.Path))))
}
