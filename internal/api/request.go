package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
)

// request is a request that passed every check.
type request struct {
	*http.Request
	identity auth.Identity
	id       string // x-request-id
	params   params
	raw      []byte // the body, as it came
}

// serve puts the checks before a handler and renders its error.
func (d *door) serve(e entry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.access != consumes { // a long poll has its own time
			ctx, cancel := context.WithTimeout(r.Context(), d.api.limits.RequestTime)
			defer cancel()
			r = r.WithContext(ctx)
		}
		req, err := d.check(w, r, e.access)
		if err == nil {
			err = e.handle(w, req)
		}
		if err != nil {
			d.api.fail(w, r, err)
		}
	})
}

func (d *door) check(w http.ResponseWriter, r *http.Request, x access) (*request, error) {
	if !acceptsJSON(r.Header["Accept"]) {
		return nil, plain(http.StatusNotAcceptable, "not_acceptable", "the Accept header does not allow JSON").hint("send Accept: application/json, or leave it out")
	}
	var identity auth.Identity
	if x != public {
		var err error
		if identity, err = d.identify(r, x); err != nil {
			return nil, err
		}
		if err := x.allows(identity); err != nil {
			return nil, err
		}
	}
	body, err := d.api.body(w, r)
	if err != nil {
		return nil, err
	}
	p, err := parseParams(r.URL.RawQuery, body)
	if err != nil {
		return nil, err
	}
	return &request{Request: r, identity: identity, id: w.Header().Get(requestIDHeader), params: p, raw: body}, nil
}

// How many unknown tokens of one address are answered before it has to wait.
const (
	unknownTokens = 100
	unknownWindow = time.Minute
)

// bearer tells who a request from the network comes from. Whoever guesses tokens is slowed down; a good token never is, whatever else comes from
// its address.
func (a *API) bearer(r *http.Request, _ access) (auth.Identity, error) {
	identity, err := a.auth.Check(r.Header)
	if problem.Code(err) != auth.CodeUnknownToken {
		return identity, err
	}
	if wait := a.unknown.Allow(r.RemoteAddr, ""); wait != nil {
		return identity, wait
	}
	a.unknown.Failed(r.RemoteAddr, "")
	return identity, err
}

// acceptsJSON reports whether one of the media ranges covers application/json.
func acceptsJSON(headers []string) bool {
	empty := true
	for _, header := range headers {
		for part := range strings.SplitSeq(header, ",") {
			media, options, _ := strings.Cut(part, ";")
			media = strings.ToLower(strings.TrimSpace(media))
			if media == "" {
				continue
			}
			empty = false
			switch media {
			case "*/*", "*", "application/*", "application/json":
				if !refused(options) {
					return true
				}
			}
		}
	}
	return empty
}

// refused reports a quality of zero.
func refused(options string) bool {
	for option := range strings.SplitSeq(options, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(option), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return err == nil && q == 0
		}
	}
	return false
}

// body reads the whole body of a request that may have one. An empty body needs no content type; any other must be JSON.
func (a *API) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return nil, nil
	}
	isJSON := strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "application/json")
	if r.ContentLength > 0 && !isJSON {
		return nil, errContentType()
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > a.limits.BodyBytes {
		return nil, errTooLarge(a.limits.BodyBytes)
	}
	// The connection's read deadline must not outlive the body: it would end the long poll that follows. Without a connection (in tests)
	// there is no deadline to set.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(a.limits.ReadTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.limits.BodyBytes))
	if err == nil {
		_ = c.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge(a.limits.BodyBytes)
	case err != nil:
		w.Header().Set("Connection", "close") // net/http reads what is left of the body before it answers, until the deadline
		return nil, plain(http.StatusBadRequest, "body_unreadable", "the body could not be read to its end").because(err)
	case len(data) > 0 && !isJSON:
		return nil, errContentType()
	}
	return data, nil
}
