package wasm

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// toldError is the error that a function reports: {"message":…,"line":…,"column":…,"value":…}, or a text.
func toldError(told []byte) *language.Error {
	var e struct {
		Message string `json:"message"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Value   string `json:"value"`
	}
	if err := json.Unmarshal(told, &e); err != nil {
		e.Message, e.Line, e.Column, e.Value = string(told[:min(len(told), 4*language.MaxMessage)]), 0, 0, ""
	}
	if strings.TrimSpace(e.Message) == "" {
		e.Message = "the function failed without a message"
	}
	failed := language.Errorf(language.KindRuntime, "%s", e.Message).With(e.Value)
	failed.Line, failed.Column = max(e.Line, 0), max(e.Column, 0)
	return failed
}

// trapped is what the engine says when a loop was ended, and when a module ends itself for reasons of its own.
const trapped = "unreachable"

// Texts of the engine and of the runtimes of languages, and what they mean.
var tooDeep = []string{"stack overflow", "stack exceeds"} //nolint:gochecknoglobals // a table

// failure says why a call, or the making of an instance, did not come to its end.
func (p *program) failure(in *instance, err error) *language.Error {
	stderr := string(p.world.stderr)
	text := err.Error()
	for _, words := range tooDeep {
		if strings.Contains(text, words) || strings.Contains(stderr, words) {
			return language.Errorf(language.KindMemory, "it went too deep").At(place(stderr))
		}
	}
	if in.memory != nil && in.memory.refused || strings.Contains(stderr, "out of memory") {
		return language.Errorf(language.KindMemory, "it took more than %d MiB of memory", p.runtime.options.Memory>>20).At(place(stderr))
	}
	if message := panicText(stderr); message != "" {
		return language.Errorf(language.KindRuntime, "%s", message).At(place(stderr))
	}
	if code, ok := errors.AsType[exited](err); ok {
		return language.Errorf(language.KindRuntime, "the module ended itself with code %d", uint32(code))
	}
	reason, trace, _ := strings.Cut(text, "\nwasm stack trace:\n")
	reason = strings.TrimPrefix(reason, "wasm error: ")
	if top, _, _ := strings.Cut(strings.TrimSpace(trace), "\n"); top != "" {
		return language.Errorf(language.KindRuntime, "%s, in %s", reason, top)
	}
	return language.Errorf(language.KindRuntime, "%s", reason)
}

// panicText finds what a language's runtime wrote last when it gave up: the first line of it, without what only says that it is one.
func panicText(stderr string) string {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"panic: ", "fatal error: "} {
			if text, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSuffix(text, " [recovered]")
			}
		}
		if strings.Contains(line, "panicked at") { // Rust: "thread '…' panicked at src/lib.rs:3:5:", then the text
			_, rest, _ := strings.Cut(stderr, line)
			if first, _, _ := strings.Cut(strings.TrimSpace(rest), "\n"); first != "" {
				return first
			}
			return line
		}
	}
	text, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	return text
}

// frames finds places in traces of Go: a function of package main, then its file and line.
var frames = regexp.MustCompile(`(?m)^main\.\S.*\n\s+(?:\S*/)?([^/\s]+\.go):(\d+)`)

// rust finds the place in the message of a panic in Rust.
var rust = regexp.MustCompile(`panicked at \S+?:(\d+):(\d+)`)

// place finds the line in the user's file that a trace names first. The files that were put beside it begin with sequin_.
func place(stderr string) (line, column int) {
	for _, m := range frames.FindAllStringSubmatch(stderr, -1) {
		if !strings.HasPrefix(m[1], "sequin_") {
			line, _ = strconv.Atoi(m[2]) // digits
			return line, 0
		}
	}
	if m := rust.FindStringSubmatch(stderr); m != nil {
		line, _ = strconv.Atoi(m[1])
		column, _ = strconv.Atoi(m[2])
	}
	return line, column
}
