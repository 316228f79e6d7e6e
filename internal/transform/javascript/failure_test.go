package javascript_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/javascript"
	"github.com/sequinstream/sequin/internal/transform/language"
)

func compileFails(t *testing.T, entry language.Entry, code string) (language.Program, *language.Error) {
	t.Helper()
	p, err := javascript.Runtime{}.Compile(language.Source{Name: "test", Entry: entry, Code: []byte(code), Output: output})
	var e *language.Error
	require.ErrorAs(t, err, &e)
	return p, e
}

func TestCodeThatIsNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		entry        language.Entry
		code         string
		message      string
		line, column int
	}{
		"no end":             {language.Transform, "function transform() {\n  return 1", "SyntaxError: Unexpected end of input", 2, 11},
		"a stray character":  {language.Transform, "function transform() {\n  return é §;\n}", "SyntaxError: Unexpected", 2, 12},
		"an error in 1":      {language.Transform, "const transform = => 1", "SyntaxError: Unexpected token =>", 1, 19},
		"strict mode":        {language.Transform, "function transform(a, a) {}", "SyntaxError", 1, 23},
		"declared twice":     {language.Transform, "let a = 1\nlet a = 2\nfunction transform() {}", "SyntaxError: Identifier 'a' has already been declared", 2, 5},
		"not there":          {language.Transform, "const f = 1", "the code does not define transform; begin with: function transform(action, record, changes, metadata) { … }", 0, 0},
		"empty":              {language.Filter, "", "the code does not define filter; begin with: function filter(action, record, changes, metadata) { … }", 0, 0},
		"another":            {language.Filter, "function transform() {}", "the code defines transform, but a function of this kind is named filter: function filter(action, record, changes, metadata) { … }", 0, 0},
		"inside another":     {language.Route, "function f() { function route() {} }", "the code does not define route; begin with: function route(action, record, changes, metadata) { … }", 0, 0},
		"a number":           {language.Transform, "const a = 1,\n  transform = 5", "transform is a number, not a function", 2, 3},
		"a class":            {language.Transform, "class transform {}", "transform is a class, not a function", 1, 1},
		"bytes":              {language.Transform, "function transform() { return '\xff' }", "the code is not UTF-8", 0, 0},
		"a source map":       {language.Transform, "const f = 1\n//# sourceMappingURL=file:///etc/hostname", "the code does not define transform", 0, 0},
		"a wrong expression": {language.Transform, "function transform() { return /(/ }", "SyntaxError: Unterminated group", 1, 31},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compileFails(t, c.entry, c.code)
			require.Equal(t, language.KindSyntax, err.Kind)
			require.Contains(t, err.Message, c.message)
			require.Equal(t, [2]int{c.line, c.column}, [2]int{err.Line, err.Column}, err.Message)
		})
	}
}

func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code         string
		message      string
		line, column int
		value        string
	}{
		"a missing member":      {"function transform(action, record) {\n  return record.address.city\n}", "TypeError: Cannot read property 'city' of undefined", 2, 25, `{"id":7}`},
		"in the first line":     {"function transform(action, record) { return record.a.b }", "TypeError: Cannot read property 'b' of undefined", 1, 54, `{"id":7}`},
		"behind other letters":  {"function transform(action, record) { 'äöü€😀'; return record.a.b }", "TypeError: Cannot read property 'b' of undefined", 1, 63, `{"id":7}`},
		"at the top":            {"const x = null;\n\nconst y = x.z;\nfunction transform() {}", "TypeError: Cannot read property 'z' of undefined", 3, 13, `{"id":7}`},
		"in another function":   {"const f = r => {\n  throw new Error('bad ' + r.id)\n}\nconst transform = (a, r) => [1].map(() => f(r))", "Error: bad 7", 2, 9, `{"id":7}`},
		"a thrown value":        {"function transform() {\n  throw {code: 5}\n}", `threw {"code":5}`, 2, 3, `{"code":5}`},
		"a thrown text":         {"function transform() { throw 'x' }", `threw "x"`, 1, 24, `"x"`},
		"a thrown nothing":      {"function transform() { throw undefined }", `threw nothing`, 1, 24, `nothing`},
		"an undeclared name":    {"function transform() {\n  total = 5\n  return total\n}", "ReferenceError: total is not defined", 2, 3, `{"id":7}`},
		"a misspelt name":       {"function transform() { return recrod }", "ReferenceError: recrod is not defined", 1, 31, `{"id":7}`},
		"in a built-in":         {"function transform() {\n  return JSON.parse('{')\n}", "SyntaxError: unexpected end of JSON", 2, 20, `{"id":7}`},
		"BigInt and Number":     {"function transform(a, record) {\n  const n = BigInt(record.id);\n  return n + 1 }", "TypeError: Cannot mix BigInt and other types, use explicit conversions", 3, 10, `{"id":7}`},
		"a strange error":       {"function transform() { const e = new Error(); e.toString = () => { throw 1 }; throw e }", "threw an error without a message", 1, 34, `{"id":7}`},
		"a made function":       {"const transform = (() => 5)()", "transform is not a function, but a number", 1, 7, ""},
		"lines of another kind": {"//\r\n//\u2028function transform(a, r) { return r.a.b }", "TypeError: Cannot read property 'b' of undefined", 3, 39, `{"id":7}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, c.code, `{"id":7}`)
			require.NotNil(t, err)
			require.Equal(t, language.KindRuntime, err.Kind)
			require.Equal(t, c.message, err.Message)
			require.Equal(t, [2]int{c.line, c.column}, [2]int{err.Line, err.Column})
			require.Equal(t, c.value, err.Value)
		})
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]string{
		"a loop":                 `for (;;) Math.abs(1)`,
		"a loop that catches":    `for (;;) { try { for (;;) Math.abs(1) } catch (e) {} finally { Math.abs(2) } }`,
		"a loop in finally":      `try { for (;;) Math.abs(1) } finally { for (;;) Math.abs(1) }`,
		"a loop in a getter":     `return {get a() { for (;;) {} }}`,
		"a loop in toJSON":       `return {toJSON() { for (;;) {} }}`,
		"a loop in toString":     `return [{toString() { for (;;) {} }}].join()`,
		"a loop in a callback":   `return [1, 2].sort(() => { for (;;) {} })`,
		"a loop in a proxy":      `return new Proxy({}, {ownKeys() { for (;;) {} }})`,
		"a loop in a job":        `Promise.resolve().then(() => { for (;;) {} }); return 1`,
		"jobs for ever":          `const f = () => Promise.resolve().then(f); f(); return 1`,
		"a loop in a replacer":   `return JSON.stringify([1], () => { for (;;) {} })`,
		"a loop in a reviver":    `return JSON.parse("[1]", () => { for (;;) {} })`,
		"a loop in replace":      `return "aaa".replace(/a/g, () => { for (;;) {} })`,
		"a generator for ever":   `return [...(function* () { for (;;) yield 1 })()].length`,
		"an iterator for ever":   `return Array.from({[Symbol.iterator]() { return {next() { return {done: false} }} }}).length`,
		"a growing array":        `const a = []; for (;;) { a.push(1); if (a.length > 1000) a.length = 0 }`,
		"a getter while writing": `const o = {}; for (let i = 0; i < 1000; i++) Object.defineProperty(o, "k" + i, {enumerable: true, get() { for (let j = 0; j < 1e9; j++); }}); return o`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, "function transform(action, record) {\n if (record.ok) return 'fine';\n"+statements+"\n}")
			for range 2 {
				timer := time.AfterFunc(20*time.Millisecond, func() { p.Interrupt(language.Errorf(language.KindTimeout, "took too long")) })
				_, err := call(t, p, `{}`)
				timer.Stop()
				require.NotNil(t, err)
				require.Equal(t, language.KindTimeout, err.Kind, "%v", err)
				require.Equal(t, "took too long", err.Message)
				require.Equal(t, 3, err.Line, "%v", err)
				got, err := call(t, p, `{"ok":true}`)
				require.Nil(t, err, "the program goes on")
				require.Equal(t, `"fine"`, got)
			}
		})
	}
}

func TestInterruptNeverEndsALaterCall(t *testing.T) {
	t.Parallel()
	p := compile(t, body(`return record.n`))
	p.Interrupt(language.Errorf(language.KindTimeout, "there is none"))
	got, err := call(t, p, `{"n":1}`)
	require.Nil(t, err)
	require.Equal(t, `1`, got)

	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				p.Interrupt(language.Errorf(language.KindTimeout, "now and then"))
			}
		}
	})
	ended := 0
	for range 2000 {
		if _, err := call(t, p, `{"n":1}`); err != nil {
			require.Equal(t, language.KindTimeout, err.Kind)
			ended++
		}
	}
	close(done)
	wg.Wait()
	got, err = call(t, p, `{"n":2}`)
	require.Nil(t, err)
	require.Equal(t, `2`, got)
	t.Logf("%d of 2000 were ended", ended)
}

func TestRecursionEnds(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]string{
		"a function":         `return transform(action, record)`,
		"through map":        `const f = () => [1].map(f); return f()`,
		"through sort":       `const f = () => [1, 2].sort(f); return f()`,
		"through replace":    `const f = () => "a".replace(/a/, f); return f()`,
		"through toString":   `const o = {toString() { return "" + o }}; return String(o)`,
		"through toJSON":     `const o = {toJSON() { return JSON.stringify(o) }}; return o`,
		"through a getter":   `const o = {get a() { return o.a }}; return o.a`,
		"through a setter":   `const o = {set a(v) { o.a = v }}; o.a = 1`,
		"through a proxy":    `const o = new Proxy({}, {get(t, k) { return o[k] }}); return o.a`,
		"through valueOf":    `const o = {valueOf() { return +o }}; return +o`,
		"through iterators":  `const o = {[Symbol.iterator]() { return [...o] }}; return [...o]`,
		"through bind":       `const f = () => g(); const g = f.bind(null); return g()`,
		"through apply":      `const f = () => f.apply(null, []); return f()`,
		"through construct":  `function F() { return new F() } return new F()`,
		"through generators": `function* f() { yield* f() } return [...f()]`,
		"through async":      `async function f() { await f() } return f()`,
		"through class":      `class A { static get x() { return A.x } } return A.x`,
		"through join":       `const o = [{toString() { return o.join() }}, 1]; const f = () => [{toString: f}].join(); return f()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, "function transform(action, record) {\n if (record.ok) return 'fine';\n"+statements+"\n}")
			for range 2 {
				_, err := call(t, p, `{}`)
				require.NotNil(t, err)
				require.Equal(t, language.KindMemory, err.Kind, "%v", err)
				require.Positive(t, err.Line)
				got, err := call(t, p, `{"ok":true}`)
				require.Nil(t, err)
				require.Equal(t, `"fine"`, got)
			}
		})
	}
}

func TestDeepValues(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	p := compile(t, `function transform(action, record) { return record }`)
	got, err := call(t, p, deep(9999))
	require.Nil(t, err)
	require.Equal(t, deep(9999), got)
	for _, n := range []int{10_001, 1_000_000} {
		_, err = call(t, p, deep(n))
		require.NotNil(t, err)
		require.Equal(t, language.KindMemory, err.Kind)
	}
	for name, c := range map[string]struct{ statements, want string }{
		"stringify": {`let a = []; for (let i = 0; i < 100000; i++) a = [a]; return JSON.stringify(a)`, "nested deeper than 10000 levels"},
		"parse":     {`return JSON.parse("[".repeat(1000000))`, "nested deeper than 10000 levels"},
		"join":      {`let a = [1]; for (let i = 0; i < 100000; i++) a = [a]; return String(a)`, "nested deeper than 1000 levels"},
		"objects":   {`let a = {}; for (let i = 0; i < 100000; i++) a = {a}; return a`, "nested deeper than 10000 levels"},
		"toJSON":    {`const f = () => ({a: {toJSON: f}}); return f()`, "nested deeper than 10000 levels"},
		"replacer":  {`return JSON.stringify(1, () => [1])`, "nested deeper than 10000 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, body(c.statements), `{}`)
			require.NotNil(t, err)
			require.Equal(t, language.KindMemory, err.Kind, "%v", err)
			require.Contains(t, err.Message, c.want)
		})
	}
	got, err = run(t, body(`const a = [1]; a.push(a, 2); return String(a)`), `{}`)
	require.Nil(t, err)
	require.Equal(t, `"1,,2"`, got)
}

func TestAbsurdCallsAreRefused(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		`"x".repeat(1e9)`, `"x".repeat(2**28)`, `"x".padStart(1e9)`, `"x".padEnd(1e9, "ab")`, `"".concat(...Array(100).fill("x".repeat(1e6)))`,
		`"x".repeat(1e5).replace(/x/g, "y".repeat(1e4))`, `"x".repeat(1e5).replaceAll("x", "y".repeat(1e4))`, "\"x\".repeat(1e4).replace(/x/g, \"$`$'\")",
		`"x".repeat(6e6).split("")`, `"x".repeat(6e6).match(/x/g)`, `"x".repeat(6e6).replace(/x/g, () => "")`,
		`new Array(1e9).fill(0)`, `new Array(1e8).fill(0)`, `new Array(4e9).indexOf(1)`, `Array(4e9).map(x => x)`, `Array.from({length: 1e9})`, `Array(1e8).join("ab")`,
		`Array(1e4).fill("x".repeat(1e4)).join()`, `String(Array(1e4).fill(Array(1e3).fill("x".repeat(100))))`, `[].concat(...Array(1e3).fill(Array(1e5).fill(1)))`,
		`Array(1e4).fill(Array(1e4).fill(1)).flat()`, `Array.prototype.forEach.call({length: 2**53}, () => 1)`, `Array.prototype.reverse.call({length: 1e12})`,
		`Math.max.apply(null, {length: 1e9})`, `Reflect.apply(Math.max, null, {length: 1e9})`, `Reflect.construct(Array, {length: 1e9})`,
		`new ArrayBuffer(1e10)`, `new ArrayBuffer(1e9)`, `new Uint8Array(1e9)`, `new Float64Array(1e7)`, `new Float64Array({length: 1e8})`,
		`new (class extends Uint8Array {})(1e9)`, `new (Object.getPrototypeOf(new Uint8Array(1)).constructor)(1e9)`, `BigInt.asIntN(1e12, 1n)`, `BigInt.asUintN(2**53 - 1, -1n)`,
		`JSON.stringify(Array(1000).fill("x".repeat(1e5)))`, `JSON.stringify(Array(1e9))`,
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			p := compile(t, "function transform(action, record) {\n  const x = "+expression+";\n  return x.length }")
			start := time.Now()
			got, err := call(t, p, `{}`)
			require.NotNil(t, err, "%.100s", got)
			require.Equal(t, language.KindMemory, err.Kind, "%v", err)
			require.Equal(t, 2, err.Line)
			require.Less(t, time.Since(start), 10*time.Second)
			got, err = run(t, body(`try { `+expression+`; return "made" } catch (e) { return e.name }`), `{}`)
			require.Nil(t, err)
			require.Equal(t, `"RangeError"`, got)
		})
	}
}

func TestBoundedFunctionsWork(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{`"ab".repeat(3)`, `"ababab"`},
		{`"a".padStart(3, "xy") + "a".padEnd(3)`, `"xyaa  "`},
		{`"a".concat(1, null, "b")`, `"a1nullb"`},
		{`"a-b-c".replace("-", "+")`, `"a+b-c"`},
		{`"a-b-c".replaceAll("-", "$&$&")`, `"a--b--c"`},
		{`"a-b".replace(/(\w)-(\w)/, "$2-$1")`, `"b-a"`},
		{`"aXbX".replace(/x/gi, m => m.toLowerCase())`, `"axbx"`},
		{`"a,b,,c".split(",")`, `["a","b","","c"]`},
		{`"abc".split("")`, `["a","b","c"]`},
		{`"a1b2".match(/\d/g)`, `["1","2"]`},
		{`[..."a1b2".matchAll(/\d/g)].map(m => m.index)`, `[1,3]`},
		{`[1, , 3].join("-")`, `"1--3"`},
		{`[null, undefined, [1, [2]]].join()`, `",,1,2"`},
		{`[1, [2, [3]]].flat(Infinity)`, `[1,2,3]`},
		{`[1].concat([2], 3)`, `[1,2,3]`},
		{`Array.from({length: 3}, (_, i) => i)`, `[0,1,2]`},
		{`Array.from("ab")`, `["a","b"]`},
		{`[3, 1, 2].sort((a, b) => a - b)`, `[1,2,3]`},
		{`Math.max.apply(null, [1, 3])`, `3`},
		{`Reflect.construct(Date, [0]).getTime()`, `0`},
		{`[1, 2, 3].map(x => x * 2).filter(x => x > 2).reduce((a, b) => a + b)`, `10`},
		{`[...new Uint8Array([1, 300])]`, `[1,44]`},
		{`new Uint8Array(new ArrayBuffer(4), 1).length`, `3`},
		{`Uint8Array.from([1, 2]) instanceof Uint8Array`, `true`},
		{`new Float64Array(2).constructor === Float64Array`, `true`},
		{`Array.prototype.map.name + Array.prototype.map.length`, `"map1"`},
		{`[1, 2].toString() + [3].toLocaleString()`, `"1,23"`},
		{`"x".repeat(6e6).split(",").length`, `1`},
		{`"ÄÖ".repeat(2)`, `"ÄÖÄÖ"`},
		{`["\ud83d"].join() + "\ude00"`, `"😀"`},
		{`BigInt.asIntN(8, 255n)`, `-1`},
		{`Array.prototype.join.call({length: 2, 0: "a", 1: "b"}, "+")`, `"a+b"`},
		{`JSON.stringify({a: [1, {b: 2}], c: undefined, d: () => 1}, null, 2)`, `"{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ]\n}"`},
		{`JSON.stringify([], null, 2) + JSON.stringify({}, null, "\t")`, `"[]{}"`},
		{`JSON.stringify({a: 1, b: {a: 2, c: 3}}, ["a", "b"])`, `"{\"a\":1,\"b\":{\"a\":2}}"`},
		{`JSON.stringify({a: 1, b: "x"}, (k, v) => typeof v === "number" ? v + 1 : v)`, `"{\"a\":2,\"b\":\"x\"}"`},
		{`[JSON.stringify(undefined), JSON.stringify(NaN), JSON.stringify(() => 1), JSON.stringify(null)]`, `[null,"null",null,"null"]`},
		{`JSON.stringify("\ud800")`, `"\"\\ud800\""`},
		{`JSON.parse("[1, {\"a\": \"x\"}]", (k, v) => v === "x" ? "y" : v)`, `[1,{"a":"y"}]`},
		{`JSON.parse("{\"a\": 1, \"b\": 2}", (k, v) => k === "a" ? undefined : v)`, `{"b":2}`},
		{`JSON.stringify({a: 1}, null, "abcdefghijklmn")`, `"{\nabcdefghij\"a\": 1\n}"`},
		{`(() => { try { const a = {}; a.a = a; JSON.stringify(a) } catch (e) { return e.name } })()`, `"TypeError"`},
		{`["01", "", "[1,]", "'a'", "{\"a\":1}x"].map(s => { try { return JSON.parse(s) } catch (e) { return e.name } })`, `["SyntaxError","SyntaxError","SyntaxError","SyntaxError","SyntaxError"]`},
	} {
		t.Run(c[0], func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return `+c[0]), `{}`)
			require.Nil(t, err)
			require.Equal(t, c[1], got)
		})
	}
}

func TestRegularExpressionsThatWouldTakeForEver(t *testing.T) {
	t.Parallel()
	for name, expression := range map[string]string{
		"a lookahead":      `/^(?=(a+)+$)/.test("a".repeat(50) + "!")`,
		"a back reference": `/^(a+)+\1$/.test("a".repeat(50) + "!")`,
		"other letters":    `"é" + ("é" + "a".repeat(50) + "!").replace(/é|(a+)+$/g, "")`,
		"made of text":     `new RegExp("^(?=(a+)+$)").test("a".repeat(50) + "!")`,
		"exec":             `/^(?=(a+)+$)/.exec("a".repeat(50) + "!")`,
		"split":            `("a".repeat(50) + "!").split(/^(?=(a+)+$)/)`,
		"matchAll":         `[...("a".repeat(50) + "!").matchAll(/^(?=(a+)+$)/g)]`,
		"match":            `("a".repeat(50) + "!").match(/^(?=(a+)+$)/g)`,
		"from the middle":  `(() => { const r = /(a+)+$/g; r.lastIndex = 1; return r.test("a".repeat(50) + "!") })()`,
		"match with text":  `("é" + "a".repeat(50) + "!").search("^(?=é(a+)+$)")`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, body(`return record.ok ? "fine" : `+expression))
			start := time.Now()
			_, err := call(t, p, `{}`)
			require.NotNil(t, err)
			require.Equal(t, language.KindTimeout, err.Kind, "%v", err)
			require.Contains(t, err.Message, "a regular expression took longer than 800ms")
			require.Less(t, time.Since(start), 5*time.Second)
			got, err := call(t, p, `{"ok":1}`)
			require.Nil(t, err)
			require.Equal(t, `"fine"`, got)
		})
	}
}
