package wasm

import (
	"encoding/binary"
	"fmt"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// A module is changed in two ways before it is compiled.
//
// Its mutable globals are exported, so that they can be set back with the memory: there a compiler keeps the stack pointer, and some languages
// their variables.
//
// Each loop begins with a countdown. When it has come to zero, the code asks for no more memory, which goes through Go: so the garbage collector, which
// cannot stop compiled code, need not wait for a loop to end, and nobody waits for the collector, the watchdog least. Then a look at a global of ours
// tells whether the call is to end. That costs some percent. The engine's own way leaves the compiled code at the head of each loop, which in code
// from Go is that of each function, and costs several times the rest. Calls that recurse without a loop are not interrupted; they run out of stack,
// or their process is ended.
const (
	interruptExport = "sequin.interrupt"
	globalExport    = "sequin.global."
)

const (
	sectionImport   = 2
	sectionMemory   = 5
	sectionTag      = 13
	sectionGlobal   = 6
	sectionExport   = 7
	sectionCode     = 10
	moduleHeader    = 8
	importGlobal    = 3
	exportedGlobal  = 3
	typeI32         = 0x7F
	typeF64         = 0x7C
	opcodeEnd       = 0x0B
	mutableFlag     = 1
	constantI32Zero = "\x41\x00\x0B"
	countdown       = 1 << 14
)

// reader goes through the bytes of a module. The first mistake stays, and everything after it is empty.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = language.Errorf(language.KindSyntax, "the module cannot be used: "+format, args...)
	}
	r.at = len(r.b)
}

func (r *reader) more() bool { return r.err == nil && r.at < len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail("it ends too early")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) skip(n int) []byte {
	if n < 0 || n > len(r.b)-r.at {
		r.fail("it ends too early")
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// uint reads a number in LEB128, of at most 32 bits.
func (r *reader) uint() int {
	n, size := binary.Uvarint(r.b[r.at:])
	if size <= 0 || size > 5 || n > 1<<32-1 {
		r.fail("a number in it is damaged")
		return 0
	}
	r.at += size
	return int(n)
}

// leb skips a number in LEB128, signed or not, of at most 64 bits.
func (r *reader) leb() {
	for n := 0; r.byte()&0x80 != 0; n++ {
		if n >= 10 {
			r.fail("a number in it is damaged")
		}
	}
}

func (r *reader) lebs(n int) {
	for range n {
		r.leb()
	}
}

func appendUint(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) } //nolint:gosec // a length or an index

// rewriting is what is known of a module while it is copied.
type rewriting struct {
	imported  int   // globals
	declared  int   // globals
	mutable   []int // indices of those to export
	interrupt int   // the index of the global that ends a call
	check     []byte
}

// rewrite returns a module with its globals exported, and interruptible, and the names of the exported globals.
func rewrite(module []byte) (changed []byte, globals []string, err error) {
	w := &rewriting{}
	r := &reader{b: module}
	out := append(make([]byte, 0, len(module)+len(module)/8), r.skip(moduleHeader)...)
	wroteGlobals := false
	for r.more() {
		id := r.byte()
		body := &reader{b: r.skip(r.uint())}
		if r.err != nil {
			break
		}
		if !wroteGlobals && id != 0 && id != sectionTag && id > sectionMemory && id != sectionGlobal { // it has none, and here is their place
			out = appendSection(out, sectionGlobal, w.globals(&reader{b: []byte{0}}))
			wroteGlobals = true
		}
		content := body.b
		switch id {
		case sectionImport:
			w.imports(body)
		case sectionGlobal:
			content, wroteGlobals = w.globals(body), true
		case sectionExport:
			content, globals = w.exports(body)
		case sectionCode:
			content = w.code(body)
		}
		if body.err != nil {
			return nil, nil, body.err
		}
		out = appendSection(out, id, content)
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	return out, globals, nil
}

func appendSection(dst []byte, id byte, content []byte) []byte {
	return append(appendUint(append(dst, id), len(content)), content...)
}

// imports counts the globals among the imports, which come before the module's own.
func (w *rewriting) imports(r *reader) {
	for range r.uint() {
		if !r.more() {
			return
		}
		r.skip(r.uint())
		r.skip(r.uint())
		switch kind := r.byte(); kind {
		case 0:
			r.leb()
		case 1:
			r.byte()
			limits(r)
		case 2:
			limits(r)
		case importGlobal:
			r.skip(2)
			w.imported++
		default:
			r.fail("it has an import of the unknown kind %d", kind)
		}
	}
}

func limits(r *reader) {
	if r.byte()&1 != 0 {
		r.leb()
	}
	r.leb()
}

// globals copies the globals and adds two: the one that interrupts, and the countdown.
func (w *rewriting) globals(r *reader) []byte {
	w.declared = r.uint()
	from := r.at
	for i := 0; i < w.declared && r.err == nil; i++ {
		kind, mutable := r.byte(), r.byte()
		if mutable == mutableFlag {
			if kind < typeF64 || kind > typeI32 {
				r.fail("it has a mutable global that is no number, which cannot be set back between calls")
			}
			w.mutable = append(w.mutable, w.imported+i)
		}
		for r.err == nil {
			code := r.byte()
			if code == opcodeEnd {
				break
			}
			immediates(r, code)
		}
	}
	out := appendUint(nil, w.declared+2)
	out = append(out, r.b[from:]...)
	for range 2 {
		out = append(out, typeI32, mutableFlag)
		out = append(out, constantI32Zero...)
	}
	w.interrupt = w.imported + w.declared
	w.writeCheck(w.interrupt + 1)
	return out
}

// writeCheck writes what each loop begins with.
func (w *rewriting) writeCheck(counter int) {
	const (
		globalGet, globalSet, constant, isZero, subtract, ifElse, empty, grow, drop, unreachable = 0x23, 0x24, 0x41, 0x45, 0x6B, 0x04, 0x40, 0x40, 0x1A, 0x00
	)
	c := appendUint([]byte{globalGet}, counter)
	c = append(c, isZero, ifElse, empty, constant, 0, grow, 0, drop)
	c = append(appendUint(append(c, globalGet), w.interrupt), ifElse, empty, unreachable, opcodeEnd)
	c = append(c, constant, countdown&0x7F|0x80, countdown>>7&0x7F|0x80, countdown>>14) // LEB128
	c = append(appendUint(append(c, globalSet), counter), opcodeEnd)
	c = appendUint(append(c, globalGet), counter)
	c = append(c, constant, 1, subtract)
	w.check = appendUint(append(c, globalSet), counter)
}

// exports adds the globals to the exports.
func (w *rewriting) exports(r *reader) (content []byte, names []string) {
	count := r.uint()
	content = appendUint(nil, count+len(w.mutable)+1)
	content = append(content, r.b[r.at:]...)
	add := func(name string, index int) {
		content = append(appendUint(content, len(name)), name...)
		content = appendUint(append(content, exportedGlobal), index)
	}
	for _, index := range w.mutable {
		name := fmt.Sprint(globalExport, index)
		names = append(names, name)
		add(name, index)
	}
	add(interruptExport, w.interrupt)
	return content, names
}

// code copies the functions, with a check in each loop.
func (w *rewriting) code(r *reader) []byte {
	count := r.uint()
	out := appendUint(make([]byte, 0, len(r.b)+len(r.b)/8), count)
	var function []byte
	for i := 0; i < count && r.err == nil; i++ {
		body := &reader{b: r.skip(r.uint())}
		if r.err == nil {
			function = w.function(function[:0], body)
		}
		if body.err != nil {
			r.err = body.err
			return nil
		}
		out = append(appendUint(out, len(function)), function...)
	}
	return out
}

func (w *rewriting) function(dst []byte, r *reader) []byte {
	for range r.uint() { // locals: how many, of which type
		r.leb()
		r.byte()
		if r.err != nil {
			return dst
		}
	}
	dst = append(dst, r.b[:r.at]...)
	for r.more() {
		from := r.at
		code := r.byte()
		immediates(r, code)
		dst = append(dst, r.b[from:r.at]...)
		if code == 0x03 { // loop
			dst = append(dst, w.check...)
		}
	}
	return dst
}

// immediates skips what follows an opcode.
func immediates(r *reader, code byte) {
	switch {
	case code == 0x0E: // br_table
		r.lebs(min(r.uint(), len(r.b)) + 1)
	case code >= 0x02 && code <= 0x04, code == 0x0C, code == 0x0D, code == 0x10, code == 0x12, code == 0x20, code == 0x21, code == 0x22, code == 0x23,
		code == 0x24, code == 0x25, code == 0x3F, code == 0x40, code == 0x41, code == 0x42, code == 0xD0, code == 0xD2:
		r.leb()
	case code == 0x11, code == 0x13: // call_indirect
		r.lebs(2)
	case code == 0x1C: // select with types
		r.skip(r.uint())
	case code == 0x26:
		changesTables(r)
	case code >= 0x28 && code <= 0x3E:
		r.lebs(2)
	case code == 0x43:
		r.skip(4)
	case code == 0x44:
		r.skip(8)
	case code <= 0x01, code == 0x05, code == opcodeEnd, code == 0x0F, code == 0x1A, code == 0x1B, code >= 0x45 && code <= 0xC4, code == 0xD1:
	case code == 0xFC:
		bulk(r, r.uint())
	case code == 0xFD:
		vector(r, r.uint())
	default:
		r.fail("it has the instruction 0x%02x, of a feature that is not supported", code)
	}
}

func changesTables(r *reader) {
	r.fail("it changes its tables while it runs, which cannot be set back between calls")
}

func bulk(r *reader, code int) {
	switch code {
	case 0, 1, 2, 3, 4, 5, 6, 7: // conversions
	case 9, 11, 13, 16:
		r.leb()
	case 8, 10:
		r.lebs(2)
	case 12, 14, 15, 17:
		changesTables(r)
	default:
		r.fail("it has the instruction 0xfc %d, of a feature that is not supported", code)
	}
}

func vector(r *reader, code int) {
	switch {
	case code <= 11, code == 92, code == 93:
		r.lebs(2)
	case code == 12, code == 13:
		r.skip(16)
	case code >= 21 && code <= 34:
		r.byte()
	case code >= 84 && code <= 91:
		r.lebs(2)
		r.byte()
	case code > 255:
		r.fail("it has the instruction 0xfd %d, of a feature that is not supported", code)
	}
}
