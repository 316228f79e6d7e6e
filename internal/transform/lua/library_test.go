package lua_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// TestLibraries wants the answers of Lua 5.1, where they differ from ours the case says so.
func TestLibraries(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`{("hello"):sub(2, 3), ("hello"):sub(-3), ("hello"):sub(2), ("hello"):sub(0), ("hello"):sub(4, 2), ("hello"):sub(-100, 100), ("hello"):sub(2, -2)}`: `["el","llo","ello","hello","","hello","ell"]`,
		`{("hello"):byte(), ("hello"):byte(-1), ("hello"):byte(1, 2)}`:                                                                                      `[104,111,104,101]`,
		`{string.char(72, 105), ("abc"):reverse(), ("äB"):upper(), ("ÄB"):lower(), #"ä"}`:                                                                   `["Hi","cba","äB","Äb",2]`,
		`{("ab"):rep(3), ("ab"):rep(0), ("ab"):rep(-1), (""):rep(1e9)}`:                                                                                     `["ababab","","",""]`,
		`{("hello"):find("l"), ("hello"):find("xyz") == nil, ("hello"):find(""), ("hello"):find("l", -1) == nil}`:                                           `[3,true,1,true]`,
		`{("a.b"):find(".", 1, true)}`:                   `[2,2]`,
		`{("hello world"):find("(o)( ?)")}`:              `[5,6,"o"," "]`,
		`{("hello"):find("", 10)}`:                       `[6,5]`,
		`{("key = value"):match("^(%w+)%s*=%s*(%w+)$")}`: `["key","value"]`,
		`{("2026-11-22"):match("(%d+)-(%d+)-(%d+)")}`:    `["2026","11","22"]`,
		`{("  x  "):match("^%s*(.-)%s*$")}`:              `["x"]`,
		`{("hello"):match("()ll()")}`:                    `[3,5]`,
		`{("THE (quick) fox"):find("%((%a+)%)")}`:        `[5,11,"quick"]`,
		`{("f(a(b)c)d"):match("%b()")}`:                  `["(a(b)c)"]`,
		`{("THE (quick) fox"):gsub("%f[%a]%a+", "w")}`:   `["w (w) w",3]`,
		`{("abcabc"):match("(a)bc%1")}`:                  `["a"]`,
		`{("x^y"):match("[%^x]+"), ("a-z"):match("[a%-z]+"), ("]"):match("[]]"), ("a]"):match("[^]]")}`:                           `["x^","a-z","]","a"]`,
		`{("aXb"):match("%u"), ("a1"):match("%D"), ("a b"):match("%S+$"), ("\0a"):match("%z") == "\0", ("é"):match("%a") == nil}`: `["X","a","b",true,true]`,
		`{("hello world"):gsub("o", "0")}`:                                            `["hell0 w0rld",2]`,
		`{("hello world"):gsub("(%w+)", "<%1>", 1)}`:                                  `["<hello> world",1]`,
		`{("abc"):gsub("%w", "%0%0")}`:                                                `["aabbcc",3]`,
		`{("abc"):gsub("", "-")}`:                                                     `["-a-b-c-",4]`,
		`{("abc"):gsub("b*", "-")}`:                                                   `["-a--c-",4]`,
		`{("$name is $x"):gsub("%$(%w+)", {name = "Ann"})}`:                           `["Ann is $x",2]`,
		`{("a b"):gsub("%w", function(c) if c == "a" then return c:upper() end end)}`: `["A b",2]`,
		`{("abc"):gsub("^a", "x")}`:                                                   `["xbc",1]`,
		`{("abc"):gsub("a", "%%")}`:                                                   `["%bc",1]`,
		`(function() local t = {} for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do t[#t + 1] = k .. v end return t end)()`:                                                                              `["a1","b2"]`,
		`(function() local t = {} for w in ("one two"):gmatch("%a+") do t[#t + 1] = w end return t end)()`:                                                                                               `["one","two"]`,
		`(function() local n = 0 for _ in ("abc"):gmatch("") do n = n + 1 end return n end)()`:                                                                                                           `4`,
		`{("a,b"):find(",", 1, true), (("x"):gsub("x", 5))}`:                                                                                                                                             `[2,"5"]`,
		`string.format("%5d|%-5d|%05d|%+d|%x|%X|%o|%c|%i", 42, 42, 42, 42, 255, 255, 8, 65, 7.9)`:                                                                                                        `"   42|42   |00042|+42|ff|FF|10|A|7"`,
		`string.format("%5.2f|%e|%g|%g|%g|%.3g", 3.14159, 12345.678, 0.1 + 0.2, 1e20, 100, 1234.5)`:                                                                                                      `" 3.14|1.234568e+04|0.3|1e+20|100|1.23e+03"`,
		`string.format("%s|%10s|%-5s|%.2s|%q|%%", "x", "ab", "cd", "abcdef", 'a"b\n')`:                                                                                                                   `"x|        ab|cd   |ab|\"a\\\"b\\\n\"|%"`,
		`string.format("%s %s %s %s", nil, true, null, 1.5)`:                                                                                                                                             `"nil true null 1.5"`,
		`string.format("%.3d|%8.3d|%x", 5, 5, -1)`:                                                                                                                                                       `"005|     005|ffffffffffffffff"`,
		`string.format("%f %5.1f %g", 1/0, -1/0, 0/0)`:                                                                                                                                                   `"inf  -inf nan"`,
		`{tostring(1), tostring(1.5), tostring(-0.25), tostring(true), tostring(nil), tostring(1e15), tostring(2^53)}`:                                                                                   `["1","1.5","-0.25","true","nil","1000000000000000","9007199254740992"]`,
		`{tonumber("10"), tonumber(" 0x1F "), tonumber("1e2"), tonumber("ff", 16), tonumber("zz", 36), tonumber("101", 2), tonumber("-5.5")}`:                                                            `[10,31,100,255,1295,5,-5.5]`,
		`{tonumber("") == nil, tonumber("abc") == nil, tonumber("1 2") == nil, tonumber(nil) == nil, tonumber({}) == nil, tonumber("inf") == nil, tonumber("nan") == nil, tonumber("1_0") == nil}`:       `[true,true,true,true,true,true,true,true]`,
		`{table.concat({1, 2, 3}, "-"), table.concat({"a", "b"}), table.concat({}), table.concat({1, 2, 3}, ",", 2), table.concat({1, 2, 3}, ",", 2, 2)}`:                                                `["1-2-3","ab","","2,3","2"]`,
		`(function() local t = {1, 2} table.insert(t, 3) table.insert(t, 1, 0) local r = table.remove(t) local f = table.remove(t, 1) return {t, r, f, #t} end)()`:                                       `[[1,2],3,0,2]`,
		`(function() local t = {3, 1, 2} table.sort(t) return t end)()`:                                                                                                                                  `[1,2,3]`,
		`(function() local t = {"b", "a", "c"} table.sort(t, function(x, y) return x > y end) return t end)()`:                                                                                           `["c","b","a"]`,
		`{table.remove({}) == nil, table.getn({1, 2}), table.maxn({1, 2})}`:                                                                                                                              `[true,2,2]`,
		`{math.floor(1.7), math.ceil(1.2), math.floor(-1.5), math.abs(-3), math.max(1, 5, 3), math.min(4, 2), math.sqrt(16), math.fmod(7, 3), math.pow(2, 10)}`:                                          `[1,2,-2,3,5,2,4,1,1024]`,
		`{math.huge > 1, math.pi > 3.14, math.log(1), math.log10(100), math.log(8, 2), math.exp(0), math.deg(math.pi), math.rad(180) == math.pi, (math.modf(3.7)), (math.frexp(8)), math.ldexp(0.5, 4)}`: `[true,true,0,2,3,1,180,true,3,0.5,8]`,
		`{select("#", 1, nil, 3), (select(2, "a", "b")), select(-1, "a", "b")}`:                                                                                                                          `[3,"b","b"]`,
		`{next({}) == nil, (next({a = 1})), rawequal("a", "a"), rawget({a = 1}, "a"), #{1, 2, 3}}`:                                                                                                       `[true,"a",true,1,3]`,
		`{pcall(error, "x")}`: `[false,"x"]`,
		`{xpcall(function() error("x", 0) end, function(e) return e .. "!" end)}`:                  `[false,"x!"]`,
		`{type(nil), type(1), type("x"), type({}), type(print), type(true), type(null)}`:           `["nil","number","string","table","function","boolean","null"]`,
		`{1 < 2, 2 <= 2, 1 > 2, "a" < "b", "B" < "a", 1 <= 0/0, 1 >= 0/0, 0/0 < 1, not (0/0 > 1)}`: `[true,true,false,true,true,false,false,false,true]`,
		`(function() local mt = {__lt = function(a, b) return a.n < b.n end, __le = function(a, b) return a.n <= b.n end} local a, b = setmetatable({n = 1}, mt), setmetatable({n = 2}, mt) return {a < b, a > b, a <= b, a >= b} end)()`: `[true,false,true,false]`,
		`(function() local mt = {__lt = function(a, b) return a.n < b.n end} local a, b = setmetatable({n = 1}, mt), setmetatable({n = 2}, mt) return {a <= b, a >= b} end)()`:                                                            `[true,false]`,
		`(function() local i, n = 0, 0 while i < 10 do i = i + 1 if i > 5 then n = n + 1 end end repeat n = n - 1 until n <= 0 for j = 3, 1, -1 do n = n + j end return n end)()`:                                                         `6`,
		`(function() local calls = "" local function f(x) calls = calls .. x return #calls end local _ = f("a") > f("b") return calls end)()`:                                                                                             `"ab"`,
		`("x"):len() + #("yy")`: `3`,
		`"10" + 5`:              `15`,
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			if want == "" {
				return
			}
			got, err := run(t, body(`return `+expression), `{}`)
			require.Nil(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestLibrariesRefuse(t *testing.T) {
	t.Parallel()
	for expression, message := range map[string]string{
		`("x"):find("%")`:                           "malformed pattern (ends with '%')",
		`("x"):find("(x")`:                          "unfinished capture",
		`("x"):match("x)")`:                         "invalid pattern capture",
		`("x"):find("%1")`:                          "invalid capture index",
		`("x"):find("%f")`:                          "missing '[' after '%f' in pattern",
		`("x"):find("%bx")`:                         "unbalanced pattern",
		`("x"):find("[%")`:                          "malformed pattern",
		`("x"):find("[]")`:                          "malformed pattern (missing ']')",
		`("x"):find(("()"):rep(33))`:                "too many captures",
		`("x"):gsub("x", "%2")`:                     "invalid capture index",
		`("x"):gsub("x", "%")`:                      "invalid use of '%' in replacement string",
		`("x"):gsub("x", true)`:                     "string/function/table expected, got boolean",
		`("x"):gsub("x", function() return {} end)`: "invalid replacement value (a table)",
		`table.concat({{}})`:                        "invalid value (table) at index 1 in table for 'concat'",
		`table.concat({1}, "", 1, 3)`:               "invalid value (nil) at index 2 in table for 'concat'",
		`table.insert({}, 5, 1)`:                    "position out of bounds",
		`table.insert({})`:                          "wrong number of arguments to 'insert'",
		`table.sort({1, "x"})`:                      "attempt to compare string with number",
		`string.char(256)`:                          "invalid value",
		`string.format("%d", "x")`:                  "number expected, got string",
		`string.format("%d")`:                       "no value",
		`string.format("%d", 1/0)`:                  "number has no integer representation",
		`tonumber("1", 99)`:                         "base out of range",
		`math.floor({})`:                            "number expected, got table",
		`os.time({})`:                               "field 'year' missing in date table",
		`os.date("%Q")`:                             "invalid conversion specifier '%Q'",
		`1 < "2"`:                                   "attempt to compare number with string",
		`{} < {}`:                                   "attempt to compare table with table",
		`record.big + {}`:                           "cannot perform add operation between number and table",
		`record.big .. {}`:                          "attempt to concatenate a table",
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, body(`local _ = `+expression+` return 1`), `{"big":9007199254740993}`)
			require.NotNil(t, err)
			require.Equal(t, language.KindRuntime, err.Kind)
			require.Contains(t, err.Message, message)
		})
	}
	_, err := run(t, body(`local at = ("x"):rep(1000):find(("x?"):rep(1000) .. "y") return at`), `{}`)
	require.NotNil(t, err)
	require.Equal(t, language.KindMemory, err.Kind)
}
