package lua_test

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
		"order":                      `{"z":1,"a":2,"m":{"y":1,"b":2},"_":3,"10":4,"9":5,"1":6}`,
		"names of Lua":               `{"__index":1,"__metatable":2,"n":3,"end":4,"nil":5}`,
		"keys that are not ASCII":    `{"größe":1,"日本":2,"😀":3,"":4," ":5}`,
		"null, true, false, empty":   `{"a":null,"b":true,"c":false,"d":"","e":[],"f":{},"g":[null,[],{}],"h":[null,null]}`,
		"escapes":                    `{"a":"\"\\\b\f\n\r\t\u0000\u001f","b\"\\\n":1}`,
		"lone surrogates":            `{"a\ud800":"\ud800","b":"x\udfffy","c":"\ude00\ud83d","d":"` + "\uFFFD" + `"}`,
		"an empty record":            `{}`,
		"a record that is no object": `[1,"a",null]`,
		"many elements":              `{"a":[` + strings.Repeat(`1,`, 5000) + `2]}`,
	} {
		for how, code := range map[string]string{
			"returned":  `function transform(action, record) return record end`,
			"inside":    `function transform(action, record) return {x = {record}} end`,
			"looked at": body(`for k in pairs(record) do local _ = record[k], tostring(k) end return record`),
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				got, err := run(t, code, record)
				require.Nil(t, err)
				if how == "inside" {
					got = strings.TrimSuffix(strings.TrimPrefix(got, `{"x":[`), `]}`)
				}
				require.Equal(t, record, got)
			})
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	const record = `{"small":7,"big":9007199254740993,"same":[9007199254740993],"bigger":9007199254740994,"neg":-9223372036854775808,` +
		`"decimal":0.1234567890123456789,"huge":1e400,"text":"199.99","digits":"9007199254740993","odd":1.10}`
	for expression, want := range map[string]string{
		`{type(record.small), record.small + 1}`:                                                                                  `["number",8]`,
		`{type(record.big), type(record.huge), tostring(record.big), tostring(record.huge)}`:                                      `["number","number","9007199254740993","1e400"]`,
		`{record.big + 1, 1 + record.big, record.big - record.big, record.big * 2, -record.big, -(-record.neg)}`:                  `[9007199254740994,9007199254740994,0,18014398509481986,-9007199254740993,-9223372036854775808]`,
		`{record.big % 10, -record.big % 10, record.big % -10, record.big / 3, record.big / 2, record.big ^ 2}`:                   `[3,7,-7,3002399751580331,4503599627370496,8.112963841460668e+31]`,
		`{record.big % 0 ~= record.big % 0, record.big / 0 == math.huge}`:                                                         `[true,true]`,
		`{record.big == record.same[1], record.big == record.bigger, record.big + 1 == record.bigger, record.big == 1}`:           `[true,false,true,false]`,
		`{record.big == 9007199254740993, record.big == 9007199254740992, 9007199254740993, -9223372036854775808}`:                `[true,false,9007199254740993,-9223372036854775808]`,
		`{record.big < record.bigger, record.big <= record.big, record.big > record.bigger, record.big >= record.bigger}`:         `[true,true,false,false]`,
		`{record.big > 100, record.big < 100, 100 < record.big, 100 >= record.big, record.neg < 0, record.small < 8}`:             `[true,false,true,false,true,true]`,
		`{record.big > 9007199254740992, record.big < 9007199254740994, record.big >= 9007199254740993}`:                          `[true,true,true]`,
		`{record.decimal < 1, record.decimal > 0.12345678901234568, record.decimal < 0.12345678901234568, 1 < record.huge}`:       `[true,true,false,true]`,
		`{record.decimal + 1, record.decimal, -record.decimal, record.huge, -record.huge}`:                                        `[1.1234567890123457,0.1234567890123456789,-0.1234567890123456789,1e400,-1e400]`,
		`{record.big .. "x", "x" .. record.big, record.big .. record.big, record.small .. ""}`:                                    `["9007199254740993x","x9007199254740993","90071992547409939007199254740993","7"]`,
		`{string.format("%d %s %20d %x %.1f", record.big, record.big, record.big, record.big, record.big)}`:                       `["9007199254740993 9007199254740993     9007199254740993 20000000000001 9007199254740992.0"]`,
		`{tonumber(record.digits) == record.big, tonumber(record.text), tonumber(record.big), tonumber("x"), tonumber("ff", 16)}`: ``,
		`{math.floor(record.big), math.max(1, record.big, record.bigger), math.min(record.big, 5), math.abs(record.neg)}`:         `[9007199254740993,9007199254740994,5,9223372036854775808]`,
		`{record.odd, record.odd + 1}`:           `[1.1,2.1]`,
		`{1e21, 1e-7, 2^53, 5e-324, 1/3, 0/1}`:   `[1e+21,1e-7,9007199254740992,5e-324,0.3333333333333333,0]`,
		`({[record.big] = "x"})[record.same[1]]`: `"x"`,
		`object{[record.big] = 1, [2] = 2}`:      `{"2":2,"9007199254740993":1}`,
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return `+expression), record)
			if want == "" { // a nil among the values
				require.NotNil(t, err)
				require.Equal(t, language.KindResult, err.Kind)
				return
			}
			require.Nil(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ statements, want string }{
		"null":                      {`return null`, `null`},
		"null of a column":          {`return {record.none == null, record.none == nil, record.nothing == nil, changes == nil, type(record.none)}`, `[true,false,true,true,"null"]`},
		"a string":                  {`return "x"`, `"x"`},
		"false":                     {`return false`, `false`},
		"nil members go":            {`return {a = nil, b = null}`, `{"b":null}`},
		"insertion order":           {`local t = {z = 1} t.y = 2 t.a = 3 return t`, `{"z":1,"y":2,"a":3}`},
		"a removed key":             {`local t = {} t.a = 1 t.b = 2 t.a = nil return t`, `{"b":2}`},
		"an empty table":            {`return {{}, array{}, object{}, array(), record.list}`, `[{},[],{},[],[]]`},
		"an array that grew":        {`record.list[1] = "x" table.insert(record.list, "y") return record.list`, `["x","y"]`},
		"an array that was emptied": {`table.remove(record.full) return record.full`, `[]`},
		"an array with a hole":      {`return array{1, nil, 3}`, `[1,null,3]`},
		"an object with numbers":    {`return object{[2] = "b", [1] = "a", x = "c"}`, `{"1":"a","2":"b","x":"c"}`},
		"shared parts are no cycle": {`local a = {x = 1} return {a, a, {a = a}}`, `[{"x":1},{"x":1},{"a":{"x":1}}]`},
		"metatables do not count":   {`return setmetatable({a = 1}, {__index = {b = 2}})`, `{"a":1}`},
		"marks through functions":   {`local t = {} for i = 1, 3 do t[i] = i * i end return array(t)`, `[1,4,9]`},
		"only the first":            {`return 1, 2`, `1`},
		"in any order":              {`local t = {} t[3] = 3 t[1] = 1 t[2] = 2 return t`, `[1,2,3]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(c.statements), `{"none":null,"list":[],"full":[1]}`)
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
		"nothing":            {``, language.KindResult, "transform returned nothing; return null to deliver null"},
		"nil":                {`return nil`, language.KindResult, "transform returned nothing; return null to deliver null"},
		"a function":         {`return print`, language.KindResult, "the result is a function, which JSON cannot say"},
		"a function inside":  {`return {a = {print}}`, language.KindResult, "a[1] is a function, which JSON cannot say"},
		"NaN":                {`return 0/0`, language.KindResult, "the result is NaN, which JSON cannot say"},
		"infinity inside":    {`return {items = {{price = 1}, {price = 1/0}}}`, language.KindResult, "items[2].price is +Inf, which JSON cannot say"},
		"a cycle":            {`local a = {} a.b = {c = a} return a`, language.KindResult, "the value contains itself at b.c"},
		"a big cycle":        {`local a = {x = ("x"):rep(100000)} a.b = {a} return a`, language.KindResult, "the value contains itself at b[1]"},
		"a cycle of arrays":  {`local a = {1} a[2] = a return a`, language.KindResult, "the value contains itself at [2]"},
		"a hole":             {`return {1, nil, 3}`, language.KindResult, "the result has nothing at 2 beside others, so that it is neither an array nor an object: say array{…} or object{…}"},
		"a number and a key": {`return {x = {1, a = 2}}`, language.KindResult, `x has the key "a" beside others, so that it is neither an array nor an object: say array{…} or object{…}`},
		"a key and a number": {`local t = {a = 2} t[5000000] = 1 return t`, language.KindResult, `the result has the key 5000000 beside others, so that it is neither an array nor an object: say array{…} or object{…}`},
		"a boolean key":      {`return {[true] = 1}`, language.KindResult, `the result has the key true beside others, so that it is neither an array nor an object: say array{…} or object{…}`},
		"an array with keys": {`record.list.x = 1 return record`, language.KindResult, `list has the key "x" beside others, so that it is neither an array nor an object: say array{…} or object{…}`},
		"too big":            {`local t = {} for i = 1, 300 do t[i] = ("x"):rep(100000) end return t`, language.KindOutput, "the result has more than 16777216 bytes"},
		"one text too big":   {`return ("x"):rep(20000000)`, language.KindOutput, "the result has more than 16777216 bytes"},
		"too deep":           {`local a = 1 for i = 1, 20000 do a = {a} end return a`, language.KindMemory, "the value is nested deeper than 10000 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, body(c.statements), `{"list":[1]}`)
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
		"filter true":          {language.Filter, `record.a == 1`, `true`, ""},
		"filter false":         {language.Filter, `false`, `false`, ""},
		"filter of a number":   {language.Filter, `1`, "", "filter returned a number, not true or false"},
		"filter of null":       {language.Filter, `null`, "", "filter returned null, not true or false"},
		"filter of nil":        {language.Filter, `record.x`, "", "filter returned nothing, not true or false"},
		"filter of a string":   {language.Filter, `"true"`, "", "filter returned a string, not true or false"},
		"route of a table":     {language.Route, `{topic = "a"}`, `{"topic":"a"}`, ""},
		"route of nothing set": {language.Route, `{}`, `{}`, ""},
		"route of a list":      {language.Route, `{"a"}`, "", "route returned a table, not an object"},
		"route of an array":    {language.Route, `array{}`, "", "route returned a table, not an object"},
		"route of a string":    {language.Route, `"a"`, "", "route returned a string, not an object"},
		"route of null":        {language.Route, `null`, "", "route returned null, not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compileEntry(t, c.entry, "function "+string(c.entry)+"(action, record, changes, metadata) return "+c.expression+" end")
			got, err := call(t, p, `{"a":1}`)
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
	const all = `["update",{"id":1,"name":"ann"},{"name":"bob"},{"table_name":"t","commit_lsn":5}]`
	for name, c := range map[string]struct{ code, want string }{
		"all":             {`function transform(action, record, changes, metadata) return {action, record, changes, metadata} end`, all},
		"members":         {`function transform(a, r, c, m) return {a, r.id, c.name, m.commit_lsn, r.nothing == nil} end`, `["update",1,"bob",5,true]`},
		"written members": {`function transform(a, r) r.x = 1 r.id = nil return {r.x, r.id == nil, r.name} end`, `[1,true,"ann"]`},
		"by name":         {`function transform(a, r) return r["name"] end`, `"ann"`},
		"computed":        {`function transform(a, r) local k = "name" return r[k] end`, `"ann"`},
		"dots":            {`function transform(...) return {...} end`, all},
		"local function":  {`local function transform(a, r) return r.id end`, `1`},
		"local":           {`local transform = function(a, r) return r.id end`, `1`},
		"assigned":        {`transform = function(a, r) return r.id end`, `1`},
		"made":            {`local function make(f) return function(a, r) return f(r) end end transform = make(function(r) return r end)`, `{"id":1,"name":"ann"}`},
		"recursive":       {`local function transform(a, r, c, m) if a == "x" then return {r, m} end return transform("x", 1, 2, m) end`, `[1,{"table_name":"t","commit_lsn":5}]`},
		"defined twice":   {`function transform(a) return a end function transform(a, b, c, d) return d end`, `{"table_name":"t","commit_lsn":5}`},
		"passed on":       {`local function name(r) return r.name end function transform(a, r) return name(r) end`, `"ann"`},
		"in a closure":    {`function transform(action, record) local f = function() return record end return f() end`, `{"id":1,"name":"ann"}`},
		"a method":        {`function transform(action, record) function record:full() return self.name .. "!" end return record:full() end`, `"ann!"`},
		"iterated":        {`function transform(action, record) local t = {} for k, v in pairs(record) do t[#t + 1] = k end return t end`, `["id","name"]`},
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
	p := compile(t, body(`return record == nil`))
	for _, text := range []string{``, `[]`, `{"record":}`, `{"record":{"a":01}}`, `{"record":{"a" 1}}`, `{"record":{"a":1}`, `{"record":"\ud8"}`} {
		_, err := p.Call(nil, []byte(text))
		require.Error(t, err, text)
	}
	got, err := p.Call(nil, []byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, `true`, string(got))
}

func FuzzRoundTrip(f *testing.F) {
	for _, seed := range []string{
		`{"a":9223372036854775807,"b":123456789012345678901234567890}`, `{"a":{"b":[[],{},[{"c":null}]]}}`, `{"a":"\"\\\b\f\n\r\t\u0001é😀"}`,
		`{"a":"\ud800","\udfff":"x\ude00\ud83d"}`, `{"__index":{"x":1},"n":[1,2],"toString":0.5}`, `{"a":1.10,"b":[1e2,1e400,-0.0]}`,
		strings.Repeat(`{"a":[`, 100) + strings.Repeat(`]}`, 100), `{"a":1,"a":2}`, `{"2":1,"1":2}`,
	} {
		f.Add([]byte(seed))
	}
	p := compile(f, `function transform(action, record) return record end`)
	f.Fuzz(func(t *testing.T, record []byte) {
		if !json.Valid(record) || bytes.TrimLeft(record, " \n\t\r")[0] != '{' { // a record is an object
			return
		}
		got, err := p.Call(nil, message(string(record)))
		require.NoError(t, err)
		require.True(t, json.Valid(got), "%s", got)
		again, err := p.Call(nil, message(string(got)))
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, record))
		if !bytes.Contains(record, []byte(`\`)) && bytes.Equal(bytes.ToValidUTF8(record, nil), record) && len(got) >= compact.Len() { // shorter: a key came twice
			require.Equal(t, compact.String(), string(got))
		}
	})
}
