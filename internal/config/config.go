// Package config reads what people write: sequin.yaml, and the server's own flags and environment. A file becomes a resource.Set; every
// mistake in it is reported at once, with file, line and column. Reading is pure: nothing is connected to, created or changed.
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// LookupEnv finds an environment variable, like os.LookupEnv.
type LookupEnv func(name string) (string, bool)

// Warning is something in a file or the environment that has no effect or looks unintended, and does not stop the start.
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
	if w.Line > 0 {
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
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	if info.Size() > maxFile {
		return nil, nil, problem.New("config_unreadable", "the configuration file is too large").
			WithDetail("%s has %d bytes, the limit is %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	return Parse(path, data, os.LookupEnv)
}

func unreadable(path string, err error) error {
	p := problem.New("config_unreadable", "the configuration file cannot be read").WithDetail("%v", err).Because(err)
	if errors.Is(err, os.ErrNotExist) {
		return p.WithHint("create %s, or name another file with --config", path)
	}
	return p.WithHint("make the file readable for the user that runs sequin")
}

// Parse reads and checks a document. The name stands for it in messages. With a nil lookup ${VARIABLES} stay as they are.
func Parse(name string, data []byte, lookup LookupEnv) (*resource.Set, []Warning, error) {
	d := &decoder{file: name, lookup: lookup, warned: map[string]bool{}, places: map[string]place{}, silent: map[string]bool{}}
	root := d.parse(data)
	set := d.set(root)
	if root != nil {
		d.validate(set)
	}
	slices.SortStableFunc(d.warnings, func(a, b Warning) int { return a.Line - b.Line })
	if len(d.mistakes) > 0 {
		slices.SortStableFunc(d.mistakes, func(a, b resource.Mistake) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, d.warnings, &resource.InvalidError{Mistakes: d.mistakes}
	}
	return set, d.warnings, nil
}

// place is where something was written.
type place struct{ line, column int }

// decoder turns one document into a set and collects what is wrong with it.
type decoder struct {
	file     string
	lookup   LookupEnv
	mistakes []resource.Mistake
	warnings []Warning
	warned   map[string]bool  // subjects of warnings so far
	places   map[string]place // where each path was written
	silent   map[string]bool  // paths whose values are unknown because of a mistake elsewhere
}

func (d *decoder) mistake(path string, at place, code, format string, args ...any) *resource.Mistake {
	d.mistakes = append(d.mistakes, resource.Mistake{
		Path: path, Code: code, What: fmt.Sprintf(format, args...),
		File: d.file, Line: at.line, Column: at.column,
	})
	return &d.mistakes[len(d.mistakes)-1]
}

// warnOnce warns the first time that this subject comes up.
func (d *decoder) warnOnce(subject, path string, at place, format string, args ...any) {
	if d.warned[subject] {
		return
	}
	d.warned[subject] = true
	d.warnings = append(d.warnings, Warning{File: d.file, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(format, args...)})
}

// validate adds what the common validation finds, with positions, unless the same place is known to be wrong already.
func (d *decoder) validate(set *resource.Set) {
	wrong := maps.Clone(d.silent)
	for i := range d.mistakes {
		wrong[d.mistakes[i].Path] = true
	}
	for _, m := range set.Validate() {
		if covered(wrong, m.Path) {
			continue
		}
		at := d.locate(m.Path)
		m.File, m.Line, m.Column = d.file, at.line, at.column
		d.mistakes = append(d.mistakes, m)
	}
}

// covered reports whether the path or something that holds it is known to be wrong.
func covered(wrong map[string]bool, path string) bool {
	for path != "" {
		if wrong[path] {
			return true
		}
		path = parent(path)
	}
	return false
}

// locate is where the path was written, or else what holds it.
func (d *decoder) locate(path string) place {
	for path != "" {
		if at, ok := d.places[path]; ok {
			return at
		}
		path = parent(path)
	}
	return place{line: 1, column: 1}
}

func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }
