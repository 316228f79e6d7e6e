package javascript_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
)

func TestValuesSurvive(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]string{
		"integers":                   `{"a":0,"b":-1,"c":9007199254740991,"d":9007199254740992,"e":-9223372036854775808,"f":123456789012345678901234567890}`,
		"decimals":                   `{"a":0.1,"b":1.10,"c":1.0,"d":-2.50,"e":1e2,"f":1E-7,"g":-0.0,"h":-0}`,
		"what no double holds":       `{"a":0.1234567890123456789,"b":1e400,"c":[1e-400,-1e999],"d":9007199254740993.0}`,
		"numbers in arrays":          `{"a":[1.0,[1.10,2],{"b":3.00},4.0],"b":[[[1e2]]]}`,
		"a number behind an array":   `{"a":[1.0],"b":1,"c":{"d":2.0},"e":2}`,
		"order":                      `{"z":1,"a":2,"m":{"y":1,"b":2},"_":3}`,
		"names of the language":      `{"__proto__":1,"constructor":2,"toString":3,"length":4,"valueOf":5,"hasOwnProperty":6,"prototype":7,"__defineGetter__":8}`,
		"__proto__ with an object":   `{"__proto__":{"admin":true},"a":{"__proto__":null}}`,
		"toJSON as data":             `{"toJSON":"x","then":1}`,
		"keys that are not ASCII":    `{"größe":1,"日本":2,"😀":3,"":4," ":5}`,
		"null, true, false, empty":   `{"a":null,"b":true,"c":false,"d":"","e":[],"f":{},"g":[null,[],{}]}`,
		"escapes":                    `{"a":"\"\\\b\f\n\r\t\u0000\u001f","b\"\\\n":1}`,
		"lone surrogates":            `{"a":"\ud800","b":"x\udfffy","c":"\ude00\ud83d","d":"` + "\uFFFD" + `"}`,
		"lone surrogates in keys":    `{"a\ud800":1,"b":{"\udfff":2.0,"c":3}}`,
		"separators of lines":        `{"a":"` + "\u2028\u2029" + `<>&"}`,
		"a long text":                `{"a":"` + strings.Repeat("é", 10_000) + `"}`,
		"an empty record":            `{}`,
		"a record that is no object": `[1,"a",null]`,
	} {
		for how, code := range map[string]string{
			"returned":    `function transform(action, record) { return record }`,
			"inside":      `const transform = (action, record) => ({x: [record]})`,
			"looked at":   body(`for (const k in record) { void record[k]; void String(k) } JSON.stringify(record); return record`),
			"stringified": body(`return JSON.parse(JSON.stringify(record))`),
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				got, err := run(t, code, record)
				require.Nil(t, err)
				if how == "inside" {
					got = strings.TrimSuffix(strings.TrimPrefix(got, `{"x":[`), `]}`)
				}
				want := record
				if how == "stringified" { // a value that was parsed from other text has its text
					want = canonical(want)
					got = canonical(got)
				}
				require.Equal(t, want, got)
			})
		}
	}
}

// canonical drops the one difference that JSON.stringify makes: it writes numbers that it has as doubles in its own way.
func canonical(text string) string {
	return strings.NewReplacer("-0.0", "0", `"h":-0`, `"h":0`).Replace(text)
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	const record = `{"small":7,"big":9007199254740993,"decimal":0.1234567890123456789,"huge":1e400,"text":"199.99","odd":1.10}`
	for name, c := range map[string]struct{ expression, want string }{
		"what fits is a Number":       {`[typeof record.small, record.small + 1]`, `["number",8]`},
		"what does not is a BigInt":   {`[typeof record.big, record.big + 1n]`, `["bigint",9007199254740994]`},
		"a BigInt compares":           {`[record.big > 5, record.big === 9007199254740993n, record.big == 9007199254740992]`, `[true,true,false]`},
		"a BigInt is an index":        {`({[record.big]: 1})`, `{"9007199254740993":1}`},
		"a decimal prints itself":     {`String(record.decimal) + " " + record.huge`, `"0.1234567890123456789 Infinity"`},
		"in a template":               {"`${record.huge}`", `"1e400"`},
		"a decimal counts":            {`record.decimal + 1`, `1.1234567890123457`},
		"a decimal compares":          {`[record.decimal < 1, record.huge > 1e308]`, `[true,true]`},
		"a decimal is frozen":         {`(() => { try { record.decimal.x = 1; return "set" } catch (e) { return e.name } })()`, `"TypeError"`},
		"a decimal passes":            {`[record.decimal, record.huge]`, `[0.1234567890123456789,1e400]`},
		"a decimal in toJSON":         {`record.decimal.toJSON()`, `"0.1234567890123456789"`},
		"stringify keeps digits":      {`JSON.stringify(record)`, `"{\"small\":7,\"big\":9007199254740993,\"decimal\":0.1234567890123456789,\"huge\":1e400,\"text\":\"199.99\",\"odd\":1.10}"`},
		"parse keeps digits":          {`JSON.parse('{"a":9007199254740993,"b":[1e400]}')`, `{"a":9007199254740993,"b":[1e400]}`},
		"a changed number is written": {`{...record, odd: record.odd + 1}.odd`, `2.1`},
		"an odd number set anew":      {`(record.odd = 1.1, record.odd = 2, record.odd = 1.1, record.odd)`, `1.1`},
		"copies lose only the form":   {`({...record}).odd`, `1.1`},
		"raw numbers keep their form": {`[JSON.rawJSON("10.0"), JSON.rawJSON("1.0e22") + 1, String(JSON.rawJSON("-1e2"))]`, `[10.0,1e+22,"-1e2"]`},
		"raw numbers are known":       {`[record.huge, JSON.rawJSON("1"), 1, {}, record.big].map(JSON.isRawJSON)`, `[true,true,false,false,false]`},
		"raw numbers only":            {`["x", "", "01", "1 ", " 1", "[1]", "null", "1,2", "-"].map((text) => { try { return JSON.rawJSON(text) } catch (e) { return e.name } }).every((name) => name === "SyntaxError")`, `true`},
		"big results":                 {`[1e21, 1e-7, 123456789012345680000, 5e-324, -0]`, `[1e+21,1e-7,123456789012345680000,5e-324,0]`},
		"boxed values":                {`[new Number(3), new String("x"), new Boolean(false), Object(5n)]`, `[3,"x",false,5]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expression := c.expression
			if strings.HasPrefix(expression, "{...") {
				expression = "(" + strings.TrimSuffix(expression, ".odd") + ").odd"
			}
			got, err := run(t, body(`return `+expression), record)
			require.Nil(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ expression, want string }{
		"null":                        {`null`, `null`},
		"a string":                    {`"x"`, `"x"`},
		"undefined members go":        {`({a: undefined, b: null, c: () => 1, d: Symbol("x"), e: 1})`, `{"b":null,"e":1}`},
		"undefined elements are null": {`[undefined, , () => 1, Symbol("x")]`, `[null,null,null,null]`},
		"a column that is missing":    {`[record.nothing === undefined, record.none === null, changes]`, `[true,true,null]`},
		"toJSON":                      {`({a: {toJSON(key) { return key + "!" }}, b: new Date(0)})`, `{"a":"a!","b":"1970-01-01T00:00:00.000Z"}`},
		"insertion order":             {`({z: 1, y: 2, ...{x: 3}})`, `{"z":1,"y":2,"x":3}`},
		"array indexes come first":    {`({z: 1, 10: 2, 9: 3})`, `{"9":3,"10":2,"z":1}`},
		"maps are empty objects":      {`({a: new Map([[1, 2]]), b: /x/})`, `{"a":{},"b":{}}`},
		"inherited keys do not count": {`Object.create({a: 1}, {b: {value: 2, enumerable: true}, c: {value: 3}})`, `{"b":2}`},
		"a class":                     {`new (class { constructor() { this.a = 1 } get b() { return 2 } })()`, `{"a":1}`},
		"a proxy of an array":         {`new Proxy([1, 2], {})`, `[1,2]`},
		"shared parts are no cycle":   {`(() => { const a = {x: 1}; return [a, a, {a}] })()`, `[{"x":1},{"x":1},{"a":{"x":1}}]`},
		"a promise that is done":      {`Promise.resolve(1).then(x => ({x}))`, `{"x":1}`},
		"surrogates put together":     {`"\ud83d" + "\ude00"`, `"😀"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return `+c.expression), `{"none":null}`)
			require.Nil(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestResultsThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statements string
		kind       language.Kind
		message    string
	}{
		"nothing":             {``, language.KindResult, "transform returned nothing; return null to deliver null"},
		"a function":          {`return () => 1`, language.KindResult, "transform returned a function, which is no JSON"},
		"a symbol":            {`return Symbol("x")`, language.KindResult, "transform returned a symbol, which is no JSON"},
		"NaN":                 {`return NaN`, language.KindResult, "the result is NaN, which JSON cannot say"},
		"Infinity inside":     {`return {items: [{price: 1}, {price: 1/0}]}`, language.KindResult, "items[1].price is Infinity, which JSON cannot say"},
		"a cycle":             {`const a = {}; a.b = {c: a}; return a`, language.KindResult, "the value contains itself at b.c"},
		"a big cycle":         {`const a = {x: "x".repeat(100000)}; a.b = [a]; return a`, language.KindResult, "the value contains itself at b[0]"},
		"a cycle of an array": {`const a = [1]; a.push(a); return a`, language.KindResult, "the value contains itself at [1]"},
		"a cycle in wide":     {`const a = []; for (let i = 0; i < 50; i++) a.push(a); return a`, language.KindResult, "the value contains itself at [0]"},
		"too big":             {`return Array(300).fill("x".repeat(100000))`, language.KindOutput, "the result has more than 16777216 bytes"},
		"one text too big":    {`return "x".repeat(20000000)`, language.KindOutput, "the result has more than 16777216 bytes"},
		"too deep":            {`let a = 1; for (let i = 0; i < 20000; i++) a = [a]; return a`, language.KindMemory, "the value is nested deeper than 10000 levels"},
		"a long array":        {`const a = []; a[4e9] = 1; return a`, language.KindMemory, "the result is an array of more than 4194304 elements"},
		"a long one inside":   {`return {a: [Array(1e7)]}`, language.KindMemory, "a[0] is an array of more than 4194304 elements"},
		"toJSON that throws":  {`return {toJSON() { throw new Error("no") }}`, language.KindRuntime, "Error: no"},
		"a getter that throws": {
			`return {get a() { return null.x }}`, language.KindRuntime,
			"TypeError: Cannot read property 'x' of undefined",
		},
		"a promise for ever":   {`return new Promise(() => {})`, language.KindResult, "transform returned a promise that nothing will ever settle"},
		"a promise that fails": {`return Promise.reject(new RangeError("far"))`, language.KindRuntime, "RangeError: far"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, body(c.statements), `{"a":1}`)
			require.NotNil(t, err)
			require.Equal(t, c.kind, err.Kind, "%v", err)
			require.Equal(t, c.message, err.Message)
			require.Positive(t, err.Line)
		})
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		entry                   language.Entry
		expression, want, wrong string
	}{
		"filter true":           {language.Filter, `record.a === 1`, `true`, ""},
		"filter false":          {language.Filter, `false`, `false`, ""},
		"filter of a number":    {language.Filter, `1`, "", "filter returned a number, not true or false"},
		"filter of null":        {language.Filter, `null`, "", "filter returned null, not true or false"},
		"filter of nothing":     {language.Filter, `undefined`, "", "filter returned nothing, not true or false"},
		"filter of a string":    {language.Filter, `"true"`, "", "filter returned a string, not true or false"},
		"filter of a box":       {language.Filter, `new Boolean(true)`, "", "filter returned an object, not true or false"},
		"route of an object":    {language.Route, `({topic: "a"})`, `{"topic":"a"}`, ""},
		"route of an array":     {language.Route, `["a"]`, "", "route returned an array, not an object"},
		"route of a string":     {language.Route, `"a"`, "", "route returned a string, not an object"},
		"route of null":         {language.Route, `null`, "", "route returned null, not an object"},
		"route of a function":   {language.Route, `() => 1`, "", "route returned a function, not an object"},
		"route of a big number": {language.Route, `record.b`, "", "route returned an object, not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compileEntry(t, c.entry, "const "+string(c.entry)+" = (action, record, changes, metadata) => "+c.expression)
			got, err := call(t, p, `{"a":1,"b":1e400}`)
			if c.wrong == "" {
				require.Nil(t, err)
				require.Equal(t, c.want, got)
				return
			}
			require.NotNil(t, err)
			require.Equal(t, language.KindResult, err.Kind)
			require.Equal(t, c.wrong, err.Message)
		})
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	full := []byte(`{"record":{"id":1,"name":"ann"},"changes":{"name":"bob"},"action":"update","metadata":{"table_name":"t","commit_lsn":5}}`)
	for name, c := range map[string]struct{ code, want string }{
		"all":               {`function transform(action, record, changes, metadata) { return [action, record, changes, metadata] }`, `["update",{"id":1,"name":"ann"},{"name":"bob"},{"table_name":"t","commit_lsn":5}]`},
		"members":           {`function transform(a, r, c, m) { return [a, r.id, c?.name, m.commit_lsn, r.nothing] }`, `["update",1,"bob",5,null]`},
		"written members":   {`function transform(a, r) { r.x = 1; delete r.id; return [r.x, r.id, r.name] }`, `[1,null,"ann"]`},
		"destructured":      {`const transform = (a, {id, ...rest}, {name}, {table_name: t}) => ({id, rest, name, t})`, `{"id":1,"rest":{"name":"ann"},"name":"bob","t":"t"}`},
		"arguments":         {`function transform() { return [...arguments] }`, `["update",{"id":1,"name":"ann"},{"name":"bob"},{"table_name":"t","commit_lsn":5}]`},
		"rest":              {`const transform = (a, ...rest) => rest.length`, `3`},
		"defaults":          {`function transform(action, record = {x: 1}) { return record }`, `{"id":1,"name":"ann"}`},
		"made":              {`const make = f => (a, r) => f(r); const transform = make(r => Object.keys(r))`, `["id","name"]`},
		"called by other":   {`function transform(a, r, c, m) { if (a === "x") return [r, m]; return transform("x", 1, 2, m) }`, `[1,{"table_name":"t","commit_lsn":5}]`},
		"replaced":          {`function transform(a) { return a } transform = (a, b, c, d) => d`, `{"table_name":"t","commit_lsn":5}`},
		"passed on":         {`function name(r) { return r.name } function transform(a, r) { return name(r) }`, `"ann"`},
		"the same name":     {`function name(record) { return record } function transform(action, record) { return name(record.id) }`, `1`},
		"in a closure":      {`function transform(action, record) { const f = () => record; return f() }`, `{"id":1,"name":"ann"}`},
		"shorthand":         {`function transform(action, record) { return {record} }`, `{"record":{"id":1,"name":"ann"}}`},
		"a method's name":   {`function transform(action, record) { return {record() {}, x: record.toString()} }`, `{"x":"[object Object]"}`},
		"computed":          {"function transform(action, record) { return record[`${'na'}me`] }", `"ann"`},
		"let":               {`let transform = async (a, r) => r.id`, `1`},
		"var of a function": {`var transform = function named(a, r) { return r.id }`, `1`},
		"a pattern":         {`const [transform] = [(a, r) => r.id]`, `1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := compile(t, c.code).Call(nil, full)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
}

func TestMessagesThatAreNone(t *testing.T) {
	t.Parallel()
	p := compile(t, body(`return record`))
	for _, text := range []string{``, `[]`, `{"record":}`, `{"record":{"a":01}}`, `{"record":{"a" 1}}`, `{"record":{"a":1}`, `{"record":"\ud8"}`} {
		_, err := p.Call(nil, []byte(text))
		require.Error(t, err, text)
	}
	got, err := p.Call(nil, []byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, `null`, string(got))
}

func FuzzRoundTrip(f *testing.F) {
	for _, seed := range []string{
		`{"a":9223372036854775807,"b":123456789012345678901234567890}`, `{"a":{"b":[[],{},[{"c":null}]]}}`, `{"a":"\"\\\b\f\n\r\t\u0001é😀"}`,
		`{"a":"\ud800","\udfff":"x\ude00\ud83d"}`, `{"__proto__":{"x":1},"constructor":[1,2],"toString":0.5}`, `{"a":1.10,"b":[1e2,1e400,-0.0]}`,
		strings.Repeat(`{"a":[`, 100) + strings.Repeat(`]}`, 100), `{"a":1,"a":2}`, `{"2":1,"1":2}`,
	} {
		f.Add([]byte(seed))
	}
	p := compile(f, `function transform(action, record) { return record }`)
	f.Fuzz(func(t *testing.T, record []byte) {
		if !json.Valid(record) || bytes.TrimLeft(record, " \n\t\r")[0] != '{' { // a record is an object
			return
		}
		got, err := p.Call(nil, message(string(record)))
		require.NoError(t, err)
		require.True(t, json.Valid(got), "%s", got)
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, record))
		if plain(compact.Bytes()) {
			require.Equal(t, compact.String(), string(got))
		}
		again, err := p.Call(nil, message(string(got)))
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
	})
}

// plain tells of text in which the same value cannot be said in another way: no escapes, and no keys that come twice or move.
func plain(text []byte) bool {
	if bytes.ContainsAny(text, "\\0123456789") && bytes.ContainsRune(text, '\\') || !bytes.Equal(bytes.ToValidUTF8(text, nil), text) {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	type level struct {
		seen map[string]bool
		key  bool
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if err != nil {
			return true
		}
		top := len(levels) - 1
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{seen: map[string]bool{}, key: true})
			continue
		case json.Delim('['):
			levels = append(levels, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:top]
			top--
		default:
			if top >= 0 && levels[top].seen != nil && levels[top].key {
				name, _ := token.(string)
				if levels[top].seen[name] || name != "" && name[0] >= '0' && name[0] <= '9' {
					return false
				}
				levels[top].seen[name] = true
				levels[top].key = false
				continue
			}
		}
		if top >= 0 && levels[top].seen != nil {
			levels[top].key = true
		}
	}
}
