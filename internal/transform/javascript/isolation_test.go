package javascript_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// TestNothingLeaksIntoTheNextCall runs code that tries to leave something behind, three times, and wants the same answer each time. What the
// language refuses is caught, so that every attempt reaches its last line, which tells what is there.
func TestNothingLeaksIntoTheNextCall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, want string }{
		"a counter at the top":              {`let n = 0; function transform() { n++; return n }`, `1`},
		"a var at the top":                  {`var n = (typeof n === "undefined" ? 0 : n) + 1; function transform() { return n }`, `1`},
		"an array at the top":               {`const seen = []; function transform() { seen.push(1); return seen.length }`, `1`},
		"a property of the function":        {`function transform() { transform.n = (transform.n || 0) + 1; return transform.n }`, `1`},
		"a static member of a class":        {`class A { static n = 0 } function transform() { return ++A.n }`, `1`},
		"a closure":                         {`const next = (() => { let n = 0; return () => ++n })(); const transform = () => next()`, `1`},
		"the function by a second name":     {`const transform = function me() { me.n = (me.n || 0) + 1; return me.n }`, `1`},
		"the function by its arguments":     {`function transform() { try { arguments.callee.n = 1; return arguments.callee.n } catch (e) { return e.name } }`, `"TypeError"`},
		"the function by this":              {`function transform() { return this === undefined }`, `true`},
		"a static block":                    {`class A { static { A.n = (A.n || 0) + 1 } } function transform() { return A.n }`, `1`},
		"a default":                         {`function transform(a, b, c, d, n = []) { n.push(1); return n.length }`, `1`},
		"a generator":                       {`const g = (function* () { yield 1; yield 2 })(); const transform = () => g.next().value`, `1`},
		"a regular expression's state":      {`const r = /a/g; function transform() { r.test("aa"); return r.lastIndex }`, `1`},
		"a regular expression in the body":  {`function transform() { const r = /a/g; const before = r.lastIndex; r.test("aa"); return before }`, `0`},
		"a map with keys of the language":   {`const m = new WeakMap(); function transform() { const old = m.get(Math); m.set(Math, 1); return old === undefined }`, `true`},
		"the object of a template":          {"const tag = s => s; const m = new WeakMap(); function transform() { const s = tag`x`; const old = m.has(s); m.set(s, 1); return [old, Object.isFrozen(s)] }", `[false,true]`},
		"this":                              {tries(`this.n = 1`, `typeof n`), `"undefined"`},
		"globalThis":                        {tries(`globalThis.n = 1`, `typeof n`), `"undefined"`},
		"globalThis defined":                {tries(`Object.defineProperty(globalThis, "n", {value: 1})`, `typeof n`), `"undefined"`},
		"an undeclared name":                {tries(`n = 1`, `typeof n`), `"undefined"`},
		"a name of the language":            {tries(`undefined = 1; NaN = 1; Math = 1`, `[typeof undefined, typeof Math]`), `["undefined","object"]`},
		"a replaced global":                 {tries(`globalThis.JSON = {stringify() { return "x" }}`, `JSON.stringify(1)`), `"1"`},
		"a replaced function":               {tries(`Math.max = () => 1`, `Math.max(2, 3)`), `3`},
		"a deleted function":                {tries(`delete Math.max`, `typeof Math.max`), `"function"`},
		"Object.prototype":                  {tries(`Object.prototype.x = 1`, `({}).x === undefined`), `true`},
		"Object.prototype defined":          {tries(`Object.defineProperty(Object.prototype, "x", {value: 1})`, `({}).x === undefined`), `true`},
		"Object.prototype redefined":        {tries(`Object.defineProperty(Object.prototype, "toString", {value: () => "x"})`, `String({})`), `"[object Object]"`},
		"Object.prototype overridden":       {tries(`Object.prototype.toString = () => "x"`, `String({})`), `"[object Object]"`},
		"Object.prototype's accessor":       {tries(`Object.getOwnPropertyDescriptor(Object.prototype, "toString").set.call(Object.prototype, () => "x")`, `String({})`), `"[object Object]"`},
		"an accessor's function":            {tries(`Object.getOwnPropertyDescriptor(Object.prototype, "toString").set.x = 1`, `Object.getOwnPropertyDescriptor(Object.prototype, "toString").set.x === undefined`), `true`},
		"__proto__ of a literal":            {tries(`({}).__proto__.x = 1`, `({}).x === undefined`), `true`},
		"__proto__ of Object.prototype":     {tries(`Object.prototype.__proto__ = {x: 1}`, `({}).x === undefined`), `true`},
		"setPrototypeOf":                    {tries(`Object.setPrototypeOf(Object.prototype, {x: 1}); Object.setPrototypeOf(Array.prototype, {x: 1})`, `[({}).x === undefined, [].x === undefined]`), `[true,true]`},
		"the prototype by the constructor":  {tries(`record.constructor.prototype.x = 1`, `({}).x === undefined`), `true`},
		"the constructor":                   {tries(`record.constructor.keys = () => ["x"]`, `Object.keys({a: 1})`), `["a"]`},
		"Array.prototype.push":              {tries(`Array.prototype.push = () => 7`, `[].push(1)`), `1`},
		"Array.prototype's iterator":        {tries(`Array.prototype[Symbol.iterator] = function* () { yield 7 }`, `[...[1]]`), `[1]`},
		"the iterator's prototype":          {tries(`Object.getPrototypeOf([][Symbol.iterator]()).next = () => ({done: true})`, `[...[1]]`), `[1]`},
		"the iterators of a map":            {tries(`Object.getPrototypeOf(new Map().entries()).x = 1`, `new Map().entries().x === undefined`), `true`},
		"the iterators of a string":         {tries(`Object.getPrototypeOf(""[Symbol.iterator]()).x = 1`, `""[Symbol.iterator]().x === undefined`), `true`},
		"the iterators of matchAll":         {tries(`Object.getPrototypeOf("a".matchAll(/a/g)).x = 1`, `"a".matchAll(/a/g).x === undefined`), `true`},
		"the prototype of iterators":        {tries(`Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())).x = 1`, `[][Symbol.iterator]().x === undefined`), `true`},
		"the prototype of generators":       {tries(`Object.getPrototypeOf(function* () {}).prototype.x = 1`, `(function* () {})().x === undefined`), `true`},
		"the prototype of async functions":  {tries(`Object.getPrototypeOf(async function () {}).x = 1`, `(async function () {}).x === undefined`), `true`},
		"the prototype of promises":         {tries(`Promise.prototype.then = null; Promise.x = 1`, `[typeof Promise.prototype.then, Promise.x === undefined]`), `["function",true]`},
		"the prototype of typed arrays":     {tries(`Object.getPrototypeOf(Uint8Array).prototype.x = 1; Uint8Array.prototype.x = 1; Uint8Array.x = 1`, `[new Uint8Array(1).x === undefined, Uint8Array.x === undefined]`), `[true,true]`},
		"Function.prototype":                {tries(`Function.prototype.call = null; (() => 1).__proto__.x = 1`, `[typeof (() => 1).call, (() => 1).x === undefined]`), `["function",true]`},
		"Date":                              {tries(`Date.now = () => 7; Date.prototype.getTime = () => 7; new Date().constructor.x = 1`, `[Date.now() > 7, new Date().getTime() > 7, Date.x === undefined]`), `[true,true,true]`},
		"RegExp":                            {tries(`RegExp.prototype.exec = () => null; RegExp.x = 1; /a/.__proto__.test = () => 7`, `[/a/.test("a"), "a".match(/a/)[0], RegExp.x === undefined]`), `[true,"a",true]`},
		"what RegExp remembers":             {tries(``, `(() => { const before = RegExp.$1; /(a)/.test("a"); return before === RegExp.$1 || before === undefined })()`), `true`},
		"Error":                             {tries(`Error.prototype.message = "x"; Error.stackTraceLimit = 0; TypeError.prototype.name = "x"`, `[new Error().message, new TypeError().name]`), `["","TypeError"]`},
		"Symbol":                            {tries(`Symbol.iterator = 1; Symbol.prototype.x = 1`, `[typeof Symbol.iterator, Symbol().x === undefined]`), `["symbol",true]`},
		"String, Number, Boolean, BigInt":   {tries(`String.prototype.trim = null; Number.prototype.x = 1; Boolean.prototype.x = 1; BigInt.prototype.x = 1`, `[typeof "".trim, (1).x === undefined, true.x === undefined, 1n.x === undefined]`), `["function",true,true,true]`},
		"console":                           {tries(`console.log = 1; console.x = 1`, `[typeof console.log, console.x === undefined]`), `["function",true]`},
		"numbers that no double holds":      {tries(`record.n.__proto__.toString = () => "x"; record.n.__proto__.x = 1`, `[String(record.n), record.n.x === undefined]`), `["1e400",true]`},
		"Reflect":                           {tries(`Reflect.set(Object.prototype, "x", 1); Reflect.defineProperty(Array.prototype, "x", {value: 1}); Reflect.apply = 1`, `[[].x === undefined, typeof Reflect.apply]`), `[true,"function"]`},
		"assign":                            {tries(`Object.assign(Object.prototype, {x: 1})`, `({}).x === undefined`), `true`},
		"a proxy with the prototype inside": {tries(`new Proxy(Object.prototype, {}).x = 1`, `({}).x === undefined`), `true`},
		"super":                             {tries(`({ m() { super.x = 1 } }).m.call(Object.prototype)`, `({}).x === undefined`), `true`},
		"a getter in a literal":             {tries(`({__proto__: Object.prototype}).__proto__.x = 1`, `({}).x === undefined`), `true`},
		"the record":                        {tries(`record.a = 5; Object.getPrototypeOf(record).a = 5`, `1`), `1`},
		"a job that waits":                  {`let n = 0; function transform() { Promise.resolve().then(() => { n = 5 }); return n }`, `0`},
		"caller and callee":                 {tries(`arguments.callee.x = 1`, `1`), `1`},
		"ownership of the template":         {tries(`Object.getOwnPropertyDescriptor((function () { return arguments })(), "callee").get.x = 1`, `Object.getOwnPropertyDescriptor((function () { return arguments })(), "callee").get.x === undefined`), `true`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, c.code)
			for range 3 {
				got, err := call(t, p, `{"a":1,"n":1e400}`)
				require.Nil(t, err)
				require.Equal(t, c.want, got)
			}
		})
	}
}

// tries runs each statement by itself, whether or not the language refuses it, and then returns a value from outside all of them.
func tries(statements, result string) string {
	var b strings.Builder
	b.WriteString(`function transform(action, record) {`)
	for statement := range strings.SplitSeq(statements, "; ") {
		if statement != "" {
			b.WriteString(` (function () { try { ` + statement + ` } catch (e) { if (e instanceof SyntaxError) throw e } })();`)
		}
	}
	b.WriteString(` return ` + result + ` }`)
	return b.String()
}

func TestEverythingThatCanBeReachedIsFrozen(t *testing.T) {
	t.Parallel()
	got, err := run(t, `function transform(action, record) {
		const roots = [["globalThis", globalThis], ["function", transform.__proto__], ["record", record.__proto__], ["number", record.n.__proto__]];
		for (const make of [() => [], () => "", () => 1, () => 1n, () => true, () => Symbol(), () => /a/, () => new Date(), () => new Error(), () => new Map(),
			() => new Set(), () => new WeakMap(), () => new WeakSet(), () => Promise.resolve(), () => function* () {}, () => Object.getPrototypeOf((function* () {})()),
			() => async () => 1, () => new Uint8Array(1), () => new ArrayBuffer(1), () => new DataView(new ArrayBuffer(1)), () => [].values(),
			() => ""[Symbol.iterator](), () => new Map().keys(), () => new Set().keys(), () => "a".matchAll(/a/g), () => new Proxy({}, {}), () => class {},
			() => new (class extends Array {})(), () => arguments, () => new RangeError(), () => Object(1n), () => Object(Symbol())])
			roots.push([String(make), Object.getPrototypeOf(make())]);
		const seen = new Set(), open = [];
		let count = 0;
		while (roots.length) {
			const [path, o] = roots.pop();
			if (Object(o) !== o || seen.has(o)) continue;
			seen.add(o);
			count++;
			if (o !== transform && !Object.isFrozen(o)) open.push(path);
			roots.push([path + ".__proto__", Object.getPrototypeOf(o)]);
			for (const key of Reflect.ownKeys(o)) {
				const d = Reflect.getOwnPropertyDescriptor(o, key);
				for (const part of ["value", "get", "set"]) roots.push([path + "." + String(key), d[part]]);
			}
		}
		return [open.filter(path => !path.startsWith("() => class {}") && !path.includes("extends Array")), count > 500];
	}`, `{"n":1e400}`)
	require.Nil(t, err)
	require.Equal(t, `[[],true]`, got)
}

func TestPlainObjectsTakeEveryKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ statements, want string }{
		"assigned":             {`const o = {}; o.constructor = 1; o.toString = 2; o.valueOf = 3; o.hasOwnProperty = 4; return o`, `{"constructor":1,"toString":2,"valueOf":3,"hasOwnProperty":4}`},
		"assigned twice":       {`const o = {}; o.toString = 1; o.toString = 2; return o`, `{"toString":2}`},
		"to the record":        {`record.constructor = "x"; record.toString = () => "y"; return [record.constructor, String(record)]`, `["x","y"]`},
		"in a class":           {`class A { toString() { return "A" } } A.prototype.toString = () => "B"; return String(new A())`, `"B"`},
		"in an old class":      {`function A() {} A.prototype.toString = function () { return "A" }; A.prototype.constructor = 1; return [String(new A()), A.prototype.constructor]`, `["A",1]`},
		"of an error":          {`const e = new Error("a"); e.name = "Mine"; e.message = "b"; return String(e)`, `"Mine: b"`},
		"in a class of errors": {`class Mine extends Error { constructor(m) { super(m); this.name = "Mine" } } return [String(new Mine("x")), new Mine() instanceof Error]`, `["Mine: x",true]`},
		"of an array":          {`const a = [1]; a.toString = () => "x"; return String(a)`, `"x"`},
		"of a date":            {`const d = new Date(0); d.toJSON = () => "x"; return d`, `"x"`},
		"of a frozen object":   {`try { Object.freeze({}).toString; const o = Object.freeze({}); o.toString = 1; return "set" } catch (e) { return e.name }`, `"TypeError"`},
		"__proto__":            {`const o = {}; o["__proto__"] = {x: 1}; return [o.x, Object.keys(o)]`, `[1,[]]`},
		"the methods work":     {`return [({}).hasOwnProperty("a"), record.hasOwnProperty("a"), ({}).toString(), ({a: 1}).propertyIsEnumerable("a"), ({}).constructor === Object]`, `[false,true,"[object Object]",true,true]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(c.statements), `{"a":1}`)
			require.Nil(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestCodeCannotBeMadeOfText(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		`eval("1")`, `(0, eval)("1")`, `globalThis["ev" + "al"]("1")`, `Function("return 1")()`, `new Function("return 1")()`, `({}).constructor.constructor("return 1")()`,
		`(() => 1).constructor("return 1")()`, `(async () => 1).constructor("return 1")()`, `(function* () {}).constructor("yield 1")().next().value`,
		`Reflect.construct(Function.prototype.constructor, ["return 1"])()`, `transform.__proto__.constructor("return 1")()`, `[].map.constructor("return 1")()`,
		`class extends Function {}, new (class extends Function {})("return 1")()`, `Object.getPrototypeOf(async function () {}).constructor("return 1")()`,
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return `+expression), `{}`)
			require.NotNil(t, err, "%s", got)
			require.Contains(t, err.Message, "TypeError")
		})
	}
	for name, code := range map[string]string{
		"out of the enclosure": "}); globalThis.x = 1; (function () {",
		"a return at the top":  "return 1; function transform() {}",
		"an open comment":      "function transform() { return 1 } /*",
		"an open template":     "function transform() { return 1 } `",
		"a module":             "import x from 'y'; function transform() {}",
		"an import by call":    "function transform() { return import('x') }",
		"with":                 "function transform(a, r) { with (r) { return x } }",
		"an export":            "export default function transform() {}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compileFails(t, language.Transform, code)
			require.Equal(t, language.KindSyntax, err.Kind)
		})
	}
	got, err := run(t, "function transform() { return 1 } // the last line", `{}`)
	require.Nil(t, err)
	require.Equal(t, `1`, got)
}

func TestProgramsDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	one := compile(t, `globalThis; let n = 0; function transform(a, r) { return ++n }`)
	other := compile(t, `function transform() { return typeof n }`)
	_, err := call(t, one, `{}`)
	require.Nil(t, err)
	got, err := call(t, other, `{}`)
	require.Nil(t, err)
	require.Equal(t, `"undefined"`, got)
}

func TestOnlyTheChangeDecides(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ expression, want string }{
		"now":                    {`[Date.now(), new Date(), new Date().getTime(), +new Date]`, `[1795342272345,"2026-11-22T10:11:12.345Z",1795342272345,1795342272345]`},
		"now as text":            {`[Date(), String(new Date())]`, `["Sun Nov 22 2026 10:11:12 GMT+0000 (UTC)","Sun Nov 22 2026 10:11:12 GMT+0000 (UTC)"]`},
		"the zone":               {`[new Date().getTimezoneOffset(), new Date(0).getHours(), new Date(2026, 0, 31, 12), new Date("2026-01-31T12:00:00"), new Date("2026-01-31")]`, `[0,0,"2026-01-31T12:00:00.000Z","2026-01-31T12:00:00.000Z","2026-01-31T00:00:00.000Z"]`},
		"texts of Postgres":      {`[new Date("2026-07-01T12:00:00.123456"), new Date("2026-07-01T12:00:00.123456Z"), new Date("2026-07-01 12:00:00+02")]`, `["2026-07-01T12:00:00.123Z","2026-07-01T12:00:00.123Z","2026-07-01T10:00:00.000Z"]`},
		"other texts":            {`[new Date("Jul 1, 2026 12:00:00"), new Date("Jul 1, 2026 12:00:00 GMT+0200"), new Date("nonsense"), Date.parse("2026-07-01T12:00")]`, `["2026-07-01T12:00:00.000Z","2026-07-01T10:00:00.000Z",null,1782907200000]`},
		"parts":                  {`(() => { const d = new Date(2026, 6, 1, 12); d.setHours(13); d.setMonth(0); return [d, d.getDay(), d.getDate(), d.toLocaleDateString(), d.toTimeString()] })()`, `["2026-01-01T13:00:00.000Z",4,1,"1/1/2026","13:00:00 GMT+0000 (UTC)"]`},
		"a class of dates":       {`(() => { class D extends Date { year() { return this.getFullYear() } } const d = new D(2026, 0); return [d.year(), d instanceof Date, d instanceof D, new Date() instanceof Date, Date.UTC(2026, 0)] })()`, `[2026,true,true,true,1767225600000]`},
		"a date of a date":       {`[new Date(new Date(5)).getTime(), new Date(NaN).getTime() === new Date(NaN).getTime(), String(new Date(NaN))]`, `[5,false,"Invalid Date"]`},
		"console does nothing":   {`[console.log("x"), console.error({}), typeof print]`, `[null,null,"undefined"]`},
		"nothing of the machine": {`["process", "require", "fetch", "setTimeout", "WeakRef", "SharedArrayBuffer", "Intl"].map(name => typeof globalThis[name])`, `["undefined","undefined","undefined","undefined","undefined","undefined","undefined"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return `+c.expression), `{}`)
			require.Nil(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestRandomIsThatOfTheMessage(t *testing.T) {
	t.Parallel()
	const code = `function transform() { return [Math.random(), Math.random()] }`
	one, other := compile(t, code), compile(t, code)
	first, err := call(t, one, `{}`)
	require.Nil(t, err)
	again, err := call(t, one, `{"other":"record"}`)
	require.Nil(t, err)
	elsewhere, err := call(t, other, `{}`)
	require.Nil(t, err)
	require.Equal(t, first, again)
	require.Equal(t, first, elsewhere)
	two := strings.Split(strings.Trim(first, "[]"), ",")
	require.NotEqual(t, two[0], two[1])
	next, failed := one.Call(nil, []byte(`{"record":{},"metadata":{"idempotency_key":"another"}}`))
	require.NoError(t, failed)
	require.NotEqual(t, first, string(next))
}
