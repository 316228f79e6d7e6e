package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// What is stored of a resource is one JSON object, with secrets in clear: whoever stores it seals it. These rules make every release read what
// an earlier one wrote:
//
//   - A key is never removed, renamed or given another meaning. A new key has a default under which a record without it means what it meant.
//   - Every key is written, so that a default which changes later does not change what was declared.
//   - A key that this release does not know was written by a later one. It is refused by name: dropping it would change the declaration.
//
// testdata/stored holds a record of each kind and each release that changed it.

// Encode writes a resource, or a pointer to one, for storage. Its Meta is not part of it.
func Encode(kind string, res any) ([]byte, error) {
	switch r := res.(type) {
	case *resource.Database:
		return encode(kind, KindDatabase, storedDatabaseOf(r))
	case resource.Database:
		return encode(kind, KindDatabase, storedDatabaseOf(&r))
	case *resource.ChangeRetention:
		return encode(kind, KindChangeRetention, storedRetentionOf(r))
	case resource.ChangeRetention:
		return encode(kind, KindChangeRetention, storedRetentionOf(&r))
	case *resource.HTTPEndpoint:
		return encode(kind, KindHTTPEndpoint, storedEndpointOf(r))
	case resource.HTTPEndpoint:
		return encode(kind, KindHTTPEndpoint, storedEndpointOf(&r))
	case *resource.Function:
		return encode(kind, KindFunction, storedFunctionOf(r))
	case resource.Function:
		return encode(kind, KindFunction, storedFunctionOf(&r))
	case *resource.Sink:
		return encode(kind, KindSink, storedSinkOf(r))
	case resource.Sink:
		return encode(kind, KindSink, storedSinkOf(&r))
	}
	return nil, fmt.Errorf("a %T cannot be stored", res)
}

func encode(want, kind string, stored any) ([]byte, error) {
	if want != kind {
		return nil, fmt.Errorf("a %s is no %s", kind, want)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(stored); err != nil {
		return nil, fmt.Errorf("encode a %s: %w", kind, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decode reads a record on top of its defaults. The error never shows what is in it.
func decode(kind string, data []byte, dst any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(dst)
	if err == nil {
		return nil
	}
	if key, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return problem.New("declaration_of_newer_release", "a stored %s has a key that this release does not know", kind).
			WithDetail("the key %s was written by a later release; without it the %s would mean something else", key, kind).
			WithHint("run the release that wrote this data directory, or a newer one")
	}
	return problem.New("declaration_damaged", "a stored %s cannot be read", kind).
		WithDetail("%s", strings.TrimPrefix(withoutValues(err), "json: ")).
		WithHint("restore an earlier revision, or the data directory from a backup")
}

// withoutValues says what is wrong without the values, which may be secrets.
func withoutValues(err error) string {
	switch e := err.(type) { //nolint:errorlint // encoding/json returns them bare
	case *json.UnmarshalTypeError:
		return fmt.Sprintf("%s is a %s", e.Field, e.Value)
	case *json.SyntaxError:
		return fmt.Sprintf("it is no JSON text from byte %d on", e.Offset)
	}
	return "it is no JSON object"
}

// DecodeDatabase reads what Encode wrote of a database.
func DecodeDatabase(data []byte) (resource.Database, error) {
	def := resource.NewDatabase()
	s := storedDatabaseOf(&def)
	if err := decode(KindDatabase, data, s); err != nil {
		return resource.Database{}, err
	}
	return s.resource(), nil
}

// DecodeChangeRetention reads what Encode wrote of a change retention.
func DecodeChangeRetention(data []byte) (resource.ChangeRetention, error) {
	s := storedRetentionOf(&resource.ChangeRetention{Status: resource.RetentionActive})
	if err := decode(KindChangeRetention, data, s); err != nil {
		return resource.ChangeRetention{}, err
	}
	return s.resource(), nil
}

// DecodeEndpoint reads what Encode wrote of an HTTP endpoint.
func DecodeEndpoint(data []byte) (resource.HTTPEndpoint, error) {
	var s storedEndpoint
	if err := decode(KindHTTPEndpoint, data, &s); err != nil {
		return resource.HTTPEndpoint{}, err
	}
	return s.resource(), nil
}

// DecodeFunction reads what Encode wrote of a function.
func DecodeFunction(data []byte) (resource.Function, error) {
	var s storedFunction
	if err := decode(KindFunction, data, &s); err != nil {
		return resource.Function{}, err
	}
	return s.resource(), nil
}

// DecodeSink reads what Encode wrote of a sink.
func DecodeSink(data []byte) (resource.Sink, error) {
	def := resource.NewSink()
	s := storedSinkOf(&def)
	if err := decode(KindSink, data, s); err != nil {
		return resource.Sink{}, err
	}
	return s.resource(), nil
}
