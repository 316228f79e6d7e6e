package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// place is where something was written.
type place struct{ line, column int }

// decoder turns one document or body into resources and collects what is wrong with it.
type decoder struct {
	file     string
	lookup   LookupEnv
	escaped  bool // $$ stands for a dollar sign although there is no lookup
	base     *resource.Set
	body     bool // the body of an API request: JSON, with its own rules for types
	files    bool // secrets may be in files
	local    bool // may name files and commands of this machine
	lenient  bool // unknown keys of the resource itself are ignored
	mistakes []resource.Mistake
	warnings []Warning
	warned   map[string]bool   // subjects of warnings so far
	places   map[string]place  // where each path was written
	silent   map[string]bool   // paths whose values are unknown because of a mistake elsewhere
	renamed  map[string]string // paths that go by another name in this document
	unasked  []string          // keys that the decoder knows and does not describe
	as       map[string]string // sections that stand under their old name, and the new one
}

func newDecoder(file string) *decoder {
	return &decoder{
		file: file, base: &resource.Set{},
		warned: map[string]bool{}, places: map[string]place{}, silent: map[string]bool{}, renamed: map[string]string{}, as: map[string]string{},
	}
}

func (d *decoder) mistake(path string, at place, code, format string, args ...any) *resource.Mistake {
	d.mistakes = append(d.mistakes, resource.Mistake{
		Path: path, Code: code, What: fmt.Sprintf(format, args...),
		File: d.file, Line: at.line, Column: at.column,
	})
	return &d.mistakes[len(d.mistakes)-1]
}

func (d *decoder) warn(path string, at place, format string, args ...any) {
	d.warnings = append(d.warnings, Warning{File: d.file, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(format, args...)})
}

// warnOnce warns the first time that this subject comes up.
func (d *decoder) warnOnce(subject, path string, at place, format string, args ...any) {
	if !d.warned[subject] {
		d.warned[subject] = true
		d.warn(path, at, format, args...)
	}
}

// add takes over what the common validation found, with positions, unless the same place is known to be wrong already.
func (d *decoder) add(found []resource.Mistake) {
	wrong := maps.Clone(d.silent)
	for i := range d.mistakes {
		wrong[d.mistakes[i].Path] = true
	}
	for _, m := range found {
		if covered(wrong, m.Path) {
			continue
		}
		at := d.locate(m.Path)
		m.File, m.Line, m.Column = d.file, at.line, at.column
		if name, ok := d.renamed[m.Path]; ok {
			m.Path = name
		}
		d.mistakes = append(d.mistakes, m)
	}
}

// outcome sorts what was found and returns the mistakes as one error, if there are any.
func (d *decoder) outcome() ([]Warning, error) {
	slices.SortStableFunc(d.warnings, func(a, b Warning) int { return a.Line - b.Line })
	if len(d.mistakes) == 0 {
		return d.warnings, nil
	}
	slices.SortStableFunc(d.mistakes, func(a, b resource.Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return d.warnings, &resource.InvalidError{Mistakes: d.mistakes}
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
