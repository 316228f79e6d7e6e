// Package config reads and writes what people declare: sequin.yaml, the bodies of the HTTP API, exports and plans, the form in which a
// declaration is stored, and the server's own flags and environment. All of it goes through one decoder, so that one set of rules holds; every
// mistake in a document is reported at once, with file, line and column. Reading connects to nothing and changes nothing; it looks at the
// files of secrets where a document may name them.
package config

import (
	"errors"
	"fmt"
	"os"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// The kinds of resource, as in plans and in what is stored.
const (
	KindDatabase        = "database"
	KindChangeRetention = "change_retention"
	KindHTTPEndpoint    = "http_endpoint"
	KindFunction        = "function"
	KindSink            = "sink"
)

// LookupEnv finds an environment variable, like os.LookupEnv.
type LookupEnv func(name string) (string, bool)

// Warning is something in a document or the environment that has no effect or looks unintended, and stops nothing.
type Warning struct {
	File         string
	Line, Column int
	Path         string // "sinks[0].message_kind"; "" for the environment
	Message      string
}

func (w Warning) String() string {
	text := w.Message
	if w.Path != "" {
		text = w.Path + " " + text
	}
	if w.Line > 0 && w.File != "" {
		return fmt.Sprintf("%s:%d:%d: %s", w.File, w.Line, w.Column, text)
	}
	if w.File != "" {
		return w.File + ": " + text
	}
	return text
}

// maxFile bounds what is read; a file of ten thousand sinks has about 3 MB.
const maxFile = 16 << 20

// Load reads and checks a file, with the process's environment for its ${VARIABLES}. A mistake in it gives a *resource.InvalidError.
func Load(path string) (*resource.Set, []Warning, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return Parse(path, data, os.LookupEnv)
}

// ReadFile reads a document without looking into it.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if info.Size() > maxFile {
		return nil, problem.New("config_unreadable", "the configuration file is too large").
			WithDetail("%s has %d bytes, the limit is %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return data, nil
}

func unreadable(path string, err error) error {
	p := problem.New("config_unreadable", "the configuration file cannot be read").WithDetail("%v", err).Because(err)
	if errors.Is(err, os.ErrNotExist) {
		return p.WithHint("create %s, or name another file with --config", path)
	}
	return p.WithHint("make the file readable for the user that runs sequin")
}

// Parse reads and checks a document that stands for itself, as the file that a server starts with does. The name stands for it in messages.
// With a nil lookup ${VARIABLES} stay as they are.
func Parse(name string, data []byte, lookup LookupEnv) (*resource.Set, []Warning, error) {
	doc, warnings, err := ParseDocument(name, data, DocumentOptions{Lookup: lookup, Files: true, Local: true})
	if err != nil {
		return nil, warnings, err
	}
	return doc.Set, warnings, nil
}
