package lua_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/lua"
)

// TestNothingLeaksIntoTheNextCall runs code that tries to leave something behind, three times, and wants the same answer each time.
func TestNothingLeaksIntoTheNextCall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, want string }{
		"a global":                       {body(`counter = (counter or 0) + 1 return counter`), `1`},
		"a local at the top":             {`local n = 0 function transform() n = n + 1 return n end`, `1`},
		"a table at the top":             {`local seen = {} function transform() seen[#seen + 1] = 1 return #seen end`, `1`},
		"a closure":                      {`local next_ = (function() local n = 0 return function() n = n + 1 return n end end)() function transform() return next_() end`, `1`},
		"_G":                             {body(`local old = _G.x _G.x = 1 return old == nil`), `true`},
		"_G through itself":              {body(`local old = _G._G.x rawset(_G._G, "x", 1) return old == nil`), `true`},
		"the metatable of _G":            {body(`local old = getmetatable(_G) setmetatable(_G, {__index = function() return 7 end}) return {old == nil, nothing}`), `[true,7]`},
		"string.x":                       {body(`local old = string.x string.x = 1 return old == nil`), `true`},
		"a method of strings":            {body(`local old = ("").x function string.x() return 1 end return {old == nil, ("").x()}`), `[true,1]`},
		"a replaced method":              {body(`local old = ("a"):upper() string.upper = function() return "x" end return {old, ("a"):upper()}`), `["A","x"]`},
		"a removed function":             {body(`local old = string.rep string.rep = nil return old ~= nil`), `true`},
		"the library by rawset":          {body(`local old = rawget(string, "x") rawset(string, "x", 1) return old == nil`), `true`},
		"the library by table.insert":    {body(`local n = #string table.insert(string, 1) table.insert(math, 1) return {n, #math}`), `[0,1]`},
		"the metatable of the library":   {body(`local old = getmetatable(string) setmetatable(string, {}) return old == nil`), `true`},
		"the metatable of strings":       {body(`local mt = getmetatable("") return mt == false`), `true`},
		"__index of strings":             {body(`local ok = pcall(function() getmetatable("").__index.evil = 1 end) return {ok, ("").evil == nil}`), `[false,true]`},
		"a field of a string":            {body(`local ok = pcall(function() local s = "x" s.y = 1 end) return {ok, ("x").y == nil}`), `[false,true]`},
		"setmetatable of a string":       {body(`return pcall(setmetatable, "", {})`), `false`},
		"table, math, os":                {body(`local old = {table.x == nil, math.x == nil, os.x == nil} table.x, math.x, os.x = 1, 1, 1 return old`), `[true,true,true]`},
		"math.pi":                        {body(`local old = math.pi math.pi = 3 return old > 3.1`), `true`},
		"the metatable of numbers":       {body(`return {getmetatable(record.n), pcall(function() record.n.x = 1 end)}`), `[false,false,"transform:1: attempt to index a number value with key 'x'"]`},
		"the metatable of null":          {body(`return {getmetatable(null), pcall(setmetatable, null, {})}`), ``},
		"null replaced":                  {body(`local old = null null = 1 return old == record.z`), `true`},
		"a replaced base function":       {body(`local old = tostring(1) tostring = function() return "x" end return {old, tostring(1)}`), `["1","x"]`},
		"the state of an iterator":       {`local it = ("a b"):gmatch("%a") function transform() return it() end`, `"a"`},
		"the dice":                       {body(`local n = math.random(1000000) math.randomseed(5) local m = math.random() return {n == math.random(1000000), m}`), ``},
		"the record":                     {body(`local old = record.x record.x = 1 return old == nil`), `true`},
		"a mark":                         {`local t = {} function transform() local old = t t = array(t) return {} end`, `{}`},
		"what tostring counted":          {body(`return {tostring({}), tostring(print), tostring({})}`), `["table: 1","function: 2","table: 3"]`},
		"a key that cannot be collected": {body(`local old = _G[1] _G[1] = {} return old == nil`), `true`},
		"an error":                       {body(`local ok, e = pcall(error, {x = 1}) local old = e.x e.x = 2 return old`), `1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, c.code)
			want := c.want
			for range 3 {
				got, err := call(t, p, `{"a":1,"n":1e400,"z":null}`)
				require.Nil(t, err)
				if want == "" {
					want = got
				}
				require.Equal(t, want, got)
			}
		})
	}
}

func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"load", "loadstring", "loadfile", "dofile", "require", "module", "package", "collectgarbage", "newproxy", "setfenv", "getfenv", "debug", "io", "coroutine",
		"channel", "_printregs", "_GOPHER_LUA_VERSION", "os.exit", "os.execute", "os.getenv", "os.remove", "os.rename", "os.tmpname", "os.clock", "string.dump",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return {`+name+` == nil, _G == nil}`), `{}`)
			require.Nil(t, err)
			require.Equal(t, `[true,false]`, got)
		})
	}
	got, err := run(t, body(`local all = {} for name in pairs(_G) do all[#all + 1] = name end table.sort(all) return table.concat(all, " ")`), `{}`)
	require.Nil(t, err)
	require.Equal(t, `"_G _VERSION array assert error getmetatable ipairs math next null object os pairs pcall print rawequal rawget rawset select setmetatable `+
		`string table tonumber tostring transform type unpack xpcall"`, got)
}

func TestCodeStaysInside(t *testing.T) {
	t.Parallel()
	_, failed := lua.Runtime{}.Compile(language.Source{Entry: language.Transform, Code: []byte("local x = ... function transform() return x end")})
	require.EqualError(t, failed, "cannot use '...' outside a vararg function (line 1)")
	got, err := run(t, `function transform(...) print("x") return {_VERSION, (select("#", ...))} end`, `{}`)
	require.Nil(t, err)
	require.Equal(t, `["Lua 5.1",4]`, got)
}

func TestOnlyTheChangeDecides(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`{os.time(), os.date(), os.date("!%Y-%m-%dT%H:%M:%SZ")}`:                          `[1795342272,"Sun Nov 22 10:11:12 2026","2026-11-22T10:11:12Z"]`,
		`{os.date("%F %T", 0), os.date("%a %A %b %B %d %I %p %j %y %w %%", 86400 * 200)}`: `["1970-01-01 00:00:00","Mon Monday Jul July 20 12 AM 201 70 1 %"]`,
		`os.date("*t", 0)`: `{"year":1970,"month":1,"day":1,"hour":0,"min":0,"sec":0,"wday":5,"yday":1,"isdst":false}`,
		`os.time({year = 2026, month = 7, day = 1, hour = 12})`: `1782907200`,
		`os.time(os.date("*t", 1782907200))`:                    `1782907200`,
		`os.difftime(5, 3)`:                                     `2`,
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, body(`return `+expression), `{}`)
			require.Nil(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestRandomIsThatOfTheMessage(t *testing.T) {
	t.Parallel()
	const code = `function transform() return {math.random(), math.random(6), math.random(5, 9)} end`
	one, other := compile(t, code), compile(t, code)
	first, err := call(t, one, `{}`)
	require.Nil(t, err)
	again, err := call(t, one, `{"other":"record"}`)
	require.Nil(t, err)
	elsewhere, err := call(t, other, `{}`)
	require.Nil(t, err)
	require.Equal(t, first, again)
	require.Equal(t, first, elsewhere)
	next, failed := one.Call(nil, []byte(`{"record":{},"metadata":{"idempotency_key":"another"}}`))
	require.NoError(t, failed)
	require.NotEqual(t, first, string(next))
	got, err := run(t, body(`local seen = {} for i = 1, 1000 do local n = math.random(3) assert(n >= 1 and n <= 3 and n % 1 == 0) seen[n] = true end return #seen`), `{}`)
	require.Nil(t, err)
	require.Equal(t, `3`, got)
	for _, wrong := range []string{`math.random(0)`, `math.random(2, 1)`, `math.random(0/0)`, `math.random(-math.huge, math.huge)`} {
		_, err := run(t, body(`return `+wrong), `{}`)
		require.NotNil(t, err, wrong)
	}
	require.Len(t, strings.Split(first, ","), 3)
}
