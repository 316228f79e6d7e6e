package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// ordered is a JSON object that keeps the order of its keys.
type ordered[T any] struct {
	keys   []string
	values map[string]T
}

// UnmarshalJSON reads an object.
func (o *ordered[T]) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return err
	}
	o.values = map[string]T{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value T
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%v: %w", key, err)
		}
		name, _ := key.(string)
		o.keys = append(o.keys, name)
		o.values[name] = value
	}
	return nil
}

// document is the part of the contract that the page shows.
type document struct {
	Info struct{ Description string }
	Tags []struct{ Name, Description string }

	Paths      ordered[ordered[json.RawMessage]]
	Components struct {
		Parameters map[string]parameter
		Responses  map[string]response
		Schemas    map[string]*schema
	}
}

type parameter struct {
	Ref         string `json:"$ref"`
	Name, In    string
	Required    bool
	Description string
	Schema      *schema
}

type media struct {
	Content struct {
		JSON struct{ Schema *schema } `json:"application/json"`
	}
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	media
}

type operation struct {
	Tags                 []string
	Summary, Description string
	Scope                string `json:"x-scope"`
	Parameters           []parameter
	RequestBody          *struct {
		Required bool
		media
	}
	Responses ordered[response]
}

type schema struct {
	Ref         string `json:"$ref"`
	Type        any
	Description string
	Enum        []any
	Const       any
	Minimum     *float64
	Maximum     *float64
	MinItems    *int
	MaxItems    *int
	MaxLength   *int
	Default     any
	Required    []string
	Properties  ordered[*schema]
	Items       *schema
	AnyOf       []*schema
	Examples    []json.RawMessage
}

// last is the name at the end of a reference.
func last(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func (d *document) parameter(p parameter) parameter {
	if p.Ref != "" {
		return d.Components.Parameters[last(p.Ref)]
	}
	return p
}

func (d *document) response(r response) response {
	if r.Ref != "" {
		return d.Components.Responses[last(r.Ref)]
	}
	return r
}

// schema follows references.
func (d *document) schema(s *schema) *schema {
	for s != nil && s.Ref != "" {
		s = d.Components.Schemas[last(s.Ref)]
	}
	return s
}
