package wasm_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/wasm"
)

// parts is a module written by hand, as a compiler of another language might write it.
type parts struct {
	mark     string // of the contract
	alloc    []byte // code of the allocator
	entry    []byte // code of transform: local 0 is the address, local 1 the length
	params   []byte // of transform
	pages    int    // of memory
	globals  []byte
	count    int // of globals
	exported string
	more     []byte // sections after the code
}

const (
	i32, i64   = 0x7F, 0x7E
	end        = 0x0B
	globalGet  = 0x23
	globalSet  = 0x24
	i32Const   = 0x41
	i64Const   = 0x42
	i32Add     = 0x6A
	i32Store8  = 0x3A
	addressAt1 = 0x01
)

// counter is a mutable global that begins at '0'.
var counter = []byte{i32, 1, i32Const, 0x30, end}

// packed is code that returns the bytes at an address.
func packed(address, n uint64, failed bool) []byte {
	v := int64(address<<32 | n)
	if failed {
		v |= -1 << 63
	}
	return append([]byte{i64Const}, sleb(v)...)
}

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7F)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func vector(items ...[]byte) []byte {
	b := binary.AppendUvarint(nil, uint64(len(items)))
	for _, item := range items {
		b = append(b, item...)
	}
	return b
}

func sized(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }

func export(name string, kind, index byte) []byte { return append(sized([]byte(name)), kind, index) }

func function(code []byte) []byte { return sized(append(append([]byte{0}, code...), end)) }

func (p parts) module() []byte {
	if p.mark == "" {
		p.mark = "sequin_abi_1"
	}
	if p.alloc == nil {
		p.alloc = append([]byte{i32Const}, sleb(1024)...)
	}
	if p.params == nil {
		p.params = []byte{i32, i32}
	}
	if p.pages == 0 {
		p.pages = 2
	}
	if p.exported == "" {
		p.exported = "transform"
	}
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content []byte) { b = append(append(b, id), sized(content)...) }
	section(1, vector([]byte{0x60, 0, 0}, []byte{0x60, 1, i32, 1, i32}, append(append([]byte{0x60}, sized(p.params)...), 1, i64)))
	section(3, vector([]byte{0}, []byte{1}, []byte{2}))
	section(5, vector(append([]byte{0}, binary.AppendUvarint(nil, uint64(p.pages))...)))
	if p.count > 0 {
		section(6, append(binary.AppendUvarint(nil, uint64(p.count)), p.globals...))
	}
	section(7, vector(export("memory", 2, 0), export(p.mark, 0, 0), export("sequin_alloc", 0, 1), export(p.exported, 0, 2)))
	section(10, vector(function(nil), function(p.alloc), function(p.entry)))
	data := append([]byte{0, i32Const}, append(sleb(16), end)...)
	section(11, vector(append(data, sized([]byte(`{"ok":true}nonsense{"message":"so be it","line":4,"column":2}`))...)))
	return append(b, p.more...)
}

func TestModulesOfOtherLanguages(t *testing.T) {
	t.Parallel()
	count := []byte{ // writes the counter to memory, having added one, and returns it
		globalGet, 0, i32Const, 1, i32Add, globalSet, 0,
		i32Const, addressAt1, globalGet, 0, i32Store8, 0, 0,
	}
	for name, c := range map[string]struct {
		parts parts
		want  string
	}{
		"a result":                        {parts{entry: packed(16, 11, false)}, `{"ok":true}`},
		"the message":                     {parts{entry: []byte{0x20, 0, 0xAD, i64Const, 32, 0x86, 0x20, 1, 0xAD, 0x84}}, `{"action":"x"}`},
		"a variable that is a global":     {parts{globals: counter, count: 1, entry: append(count, packed(1, 1, false)...)}, "1"},
		"no JSON":                         {parts{entry: packed(27, 8, false)}, "result: what the function returned is no JSON, at hand: nonsense"},
		"an error":                        {parts{entry: packed(35, 42, true)}, "runtime: so be it (line 4, column 2)"},
		"an error that is text":           {parts{entry: packed(27, 8, true)}, "runtime: nonsense"},
		"an error without a word":         {parts{entry: packed(16, 0, true)}, "runtime: the function failed without a message"},
		"a result outside":                {parts{entry: packed(131_000, 100, false)}, "result: the result is outside of the module's memory"},
		"a trap":                          {parts{entry: []byte{0x00}}, "runtime: unreachable, in .$2(i32,i32) i64"},
		"recursion":                       {parts{entry: []byte{0x20, 0, 0x20, 1, 0x10, 2}}, "memory: it went too deep"},
		"a loop":                          {parts{entry: append([]byte{0x03, 0x40, 0x0C, 0, end}, packed(16, 11, false)...)}, "timeout: enough"},
		"a loop within, with a br_table":  {parts{entry: append([]byte{0x02, 0x40, 0x03, 0x40, i32Const, 1, 0x0E, 1, 1, 0, end, end}, packed(16, 11, false)...)}, "timeout: enough"},
		"more memory than there is":       {parts{entry: append([]byte{i32Const, 0x90, 0xCE, 0, 0x40, 0, 0x1A, 0x00}, packed(16, 11, false)...)}, "memory: it took more than 64 MiB of memory"},
		"a wrong mark":                    {parts{mark: "sequin_abi_2", entry: packed(16, 11, false)}, "syntax: the module does not export the function sequin_abi_1, the mark of the contract that it keeps to"},
		"no such function":                {parts{exported: "filter", entry: packed(16, 11, false)}, "syntax: the module does not export the function transform"},
		"another type":                    {parts{params: []byte{i64, i32}, entry: packed(16, 11, false)}, "syntax: the module's function transform is (i64, i32) -> (i64); it must be (i32, i32) -> (i64)"},
		"a program":                       {parts{mark: "_start", entry: packed(16, 11, false)}, "syntax: the module does not export the function sequin_abi_1, the mark of the contract that it keeps to"},
		"an allocator that fails":         {parts{alloc: []byte{i32Const, 0}, entry: packed(16, 11, false)}, "syntax: the module does not start: the module's sequin_alloc returned an address outside of its memory"},
		"an allocator that fails loudly":  {parts{alloc: []byte{0x00}, entry: packed(16, 11, false)}, "syntax: the module does not start: unreachable, in .$1(i32) i32"},
		"too much memory at once":         {parts{pages: 2000, entry: packed(16, 11, false)}, "syntax: the module begins with 125 MiB of memory; at most 64 are given"},
		"a table that changes":            {parts{entry: []byte{0x26, 0}}, "syntax: the module cannot be used: it changes its tables while it runs, which cannot be set back between calls"},
		"threads":                         {parts{entry: []byte{0xFE, 3, 0}}, "syntax: the module cannot be used: it has the instruction 0xfe, of a feature that is not supported"},
		"a global that is no number":      {parts{count: 1, globals: []byte{0x70, 1, 0xD0, 0x70, end}, entry: packed(16, 11, false)}, "syntax: the module cannot be used: it has a mutable global that is no number, which cannot be set back between calls"},
		"code that does not type":         {parts{entry: []byte{0x6A}}, "syntax: the module cannot be used: invalid function[2] export[\"transform\"]: cannot pop the 1st operand for i32.add: i32 missing"},
		"something behind its end":        {parts{entry: packed(16, 11, false), more: []byte{0, 100}}, "syntax: the module cannot be used: it ends too early"},
		"a global that was there already": {parts{count: 2, globals: append([]byte{i64, 0, i64Const, 5, end}, counter...), entry: packed(16, 11, false)}, `{"ok":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := compile(t, language.Transform, c.parts.module())
			if err != nil {
				require.Equal(t, c.want, outcome(nil, err))
				return
			}
			for range 3 {
				done := make(chan string)
				go func() { done <- outcome(p.Call(nil, []byte(`{"action":"x"}`))) }()
				got := ""
				for wait := 100 * time.Millisecond; got == ""; wait = 10 * time.Millisecond {
					select {
					case got = <-done:
					case <-time.After(wait):
						p.Interrupt(language.Errorf(language.KindTimeout, "enough"))
					}
				}
				require.Equal(t, c.want, got)
			}
		})
	}
}

// Whatever it is given, the rewriting ends, and makes nothing much larger. What is no module the engine finds out, in a worker.
func FuzzRewrite(f *testing.F) {
	f.Add(parts{entry: packed(16, 11, false)}.module())
	f.Add(parts{globals: counter, count: 1, entry: []byte{0x03, 0x40, 0x0C, 0, end, 0x00}}.module())
	f.Add(parts{entry: []byte{i32Const, 1, 0x0E, 1, 0, 0}}.module())
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		changed, globals, err := wasm.Rewrite(b)
		if err != nil {
			require.ErrorContains(t, err, "the module cannot be used: ")
			return
		}
		require.LessOrEqual(t, len(changed), 64*len(b)+64, "a check is some thirty bytes, a loop two")
		require.LessOrEqual(t, len(globals), len(b))
	})
}
