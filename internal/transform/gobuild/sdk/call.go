package sdk

import (
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

// message is the four parts of a message.
type message struct {
	record, changes, metadata *Object
	action                    string
}

func parse(b []byte) (m message) {
	if m, ok := indexed(b, words[:]); ok {
		return m
	}
	for _, f := range scanObject(b) {
		switch f.key {
		case "record":
			m.record = object(f.raw)
		case "changes":
			m.changes = object(f.raw)
		case "metadata":
			m.metadata = object(f.raw)
		case "action":
			m.action = unquote(f.raw)
		}
	}
	return m
}

func object(b []byte) *Object {
	if b[0] != '{' {
		return nil
	}
	o := newObject()
	o.raw = b
	return o
}

// output keeps the result until the host has read it.
var output = make([]byte, 0, 4096) //nolint:gochecknoglobals // a module has one caller

// call runs a function on a message at an address, and returns where the result is: its address, then its length in 32 bits. If the sign bit
// is set, that is an error.
func call(address unsafe.Pointer, n uint32, function func(m *message) (any, error)) (packed int64) {
	defer func() {
		if r := recover(); r != nil {
			packed = failure(reason(r), line())
		}
	}()
	m := parse(unsafe.Slice((*byte)(address), n))
	v, err := function(&m)
	if err != nil {
		return failure(err.Error(), 0)
	}
	output = appendValue(output[:0], v)
	return pack()
}

func pack() int64 {
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(output))))<<32 | int64(len(output)) //nolint:gosec // 32 bits
}

func failure(text string, line int) int64 {
	o := NewObject("message", text)
	if line > 0 {
		o.Set("line", line)
	}
	output = appendValue(output[:0], o)
	return pack() | -1<<63
}

func reason(r any) string {
	switch r := r.(type) {
	case string:
		return r
	case error:
		return strings.TrimPrefix(r.Error(), "runtime error: ")
	case interface{ String() string }:
		return r.String()
	case int:
		return "panic: " + strconv.Itoa(r)
	}
	return "panic"
}

// sourceFile is the path of the user's file in traces.
var sourceFile string //nolint:gochecknoglobals // the generated file sets it

// line finds the line of the user's file that is innermost in the panic under way.
func line() int {
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		if frame.File == sourceFile {
			return frame.Line
		}
		if !more {
			return 0
		}
	}
}
