package lua_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/lua"
)

func TestCodeThatIsNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		entry        language.Entry
		code         string
		message      string
		line, column int
	}{
		"no end":            {language.Transform, "function transform()\n  return 1\n", "syntax error at the end", 2, 0},
		"a stray character": {language.Transform, "function transform()\n  return $\nend", "Invalid token near $", 2, 10},
		"a wrong word":      {language.Transform, "function transform() retrun 1 end", "parse error near 1", 1, 29},
		"behind letters":    {language.Transform, "function transform() local x = 'ä' retrun 1 end", "parse error near 1", 1, 43},
		"goto nowhere":      {language.Transform, "function transform() goto x end", "no visible label 'x'", 1, 0},
		"break outside":     {language.Transform, "function transform()\n break end", "no loop to break", 2, 0},
		"not there":         {language.Transform, "local f = 1", "the code does not define transform; begin with: function transform(action, record, changes, metadata) … end", 0, 0},
		"empty":             {language.Filter, "", "the code does not define filter; begin with: function filter(action, record, changes, metadata) … end", 0, 0},
		"another":           {language.Filter, "function transform() end", "the code defines transform, but a function of this kind is named filter: function filter(action, record, changes, metadata) … end", 0, 0},
		"inside another":    {language.Route, "function f() function route() end end", "the code does not define route", 0, 0},
		"a method":          {language.Route, "t = {} function t.route() end function t:route() end", "the code does not define route", 0, 0},
		"a return":          {language.Transform, "function transform() end\nreturn transform", "a return outside of a function: define transform instead", 2, 0},
		"bytes":             {language.Transform, "function transform() return '\xff' end", "the code is not UTF-8", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, failed := lua.Runtime{}.Compile(language.Source{Name: "test", Entry: c.entry, Code: []byte(c.code), Output: output})
			var err *language.Error
			require.ErrorAs(t, failed, &err)
			require.Equal(t, language.KindSyntax, err.Kind)
			require.Contains(t, err.Message, c.message)
			require.Equal(t, [2]int{c.line, c.column}, [2]int{err.Line, err.Column}, err.Message)
		})
	}
}

func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code    string
		message string
		line    int
		value   string
	}{
		"a missing member":    {"function transform(action, record)\n  return record.address.city\nend", "attempt to index a non-table object(nil) with key 'city'", 2, `{"id":7}`},
		"in the first line":   {"function transform(action, record) return record.a.b end", "attempt to index a non-table object(nil) with key 'b'", 1, `{"id":7}`},
		"at the top":          {"local x = nil\n\nlocal y = x.z\nfunction transform() end", "attempt to index a non-table object(nil) with key 'z'", 3, `{"id":7}`},
		"in another function": {"local function f(r)\n  error('bad ' .. r.id)\nend\nfunction transform(a, r) local x = f(r) return x end", "bad 7", 2, `{"id":7}`},
		"a raised table":      {"function transform()\n  error({code = 5})\nend", `raised {"code":5}`, 2, `{"code":5}`},
		"a raised nothing":    {"function transform()\n  error()\nend", `raised nil`, 2, `nil`},
		"one that prints":     {"function transform()\n  error(setmetatable({}, {__tostring = function() return 'mine' end}))\nend", `raised mine`, 2, `mine`},
		"one that fails":      {"function transform()\n  error(setmetatable({}, {__tostring = error}))\nend", `raised {}`, 2, `{}`},
		"an index of null":    {"function transform(a, r)\n  return null.x\nend", `attempt to index a null value with key 'x'`, 2, `{"id":7}`},
		"a field of null":     {"function transform(a, r)\n  null.x = 1\nend", `attempt to index a null value with key 'x'`, 2, `{"id":7}`},
		"without a place":     {"function transform()\n  error('x', 0)\nend", `x`, 2, `{"id":7}`},
		"for the caller":      {"local function f()\n  error('x', 2)\nend\nfunction transform()\n  f()\nend", `x`, 5, `{"id":7}`},
		"text with a place":   {"function transform()\n  error('see transform:99: there', 0)\nend", `see transform:99: there`, 2, `{"id":7}`},
		"an undefined call":   {"function transform()\n\n return foo()\nend", "attempt to call a non-function object", 3, `{"id":7}`},
		"arithmetic":          {"function transform(a, r)\n return r.id + r.x\nend", "cannot perform add operation between number and nil", 2, `{"id":7}`},
		"a comparison":        {"function transform(a, r)\n return r.id < r.x\nend", "attempt to compare number with nil", 2, `{"id":7}`},
		"of null":             {"function transform(a, r)\n return r.id < null\nend", "attempt to compare number with null", 2, `{"id":7}`},
		"in a library":        {"function transform(a, r)\n local x = string.rep(r.x, 5)\n return x\nend", "bad argument #1 to rep (string expected, got nil)", 2, `{"id":7}`},
		"a bad pattern":       {"function transform(a, r)\n return (('x'):find('[a'))\nend", "malformed pattern (missing ']')", 2, `{"id":7}`},
		"assert":              {"function transform(a, r)\n assert(r.x, 'no x')\nend", "no x", 2, `{"id":7}`},
		"not a function":      {"transform = (function() return 5 end)()", "transform is not a function, but a number", 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, c.code, `{"id":7}`)
			require.NotNil(t, err)
			require.Equal(t, language.KindRuntime, err.Kind)
			require.Equal(t, c.message, err.Message)
			require.Equal(t, c.line, err.Line)
			require.Equal(t, c.value, err.Value)
		})
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]string{
		"a loop":                  `while true do end`,
		"a loop that catches":     `while true do pcall(function() while true do end end) end`,
		"a loop in a handler":     `while true do xpcall(function() while true do end end, function() while true do end end) end`,
		"a loop in a metamethod":  `return setmetatable({}, {__index = function() while true do end end}).x`,
		"a loop in a comparison":  `table.sort({1, 2, 3}, function() while true do end end)`,
		"a loop in gsub":          `return (("x"):gsub("x", function() while true do end end))`,
		"a loop in tostring":      `return tostring(setmetatable({}, {__tostring = function() while true do end end}))`,
		"a loop of patterns":      `while true do ("x"):find("y*x") end`,
		"a pattern":               `local s = ("a"):rep(3000) return s:find(".-.-.-.-.-.-.-.-b")`,
		"a pattern with captures": `local s = ("a"):rep(3000) return s:find("(a*)(a*)(a*)(a*)(a*)(a*)b")`,
		"a pattern in gsub":       `return (("a"):rep(3000):gsub("a*a*a*a*a*b", "x"))`,
		"a pattern in gmatch":     `for _ in ("a"):rep(3000):gmatch("a-a-a-a-a-a-b") do end`,
		"a pattern that catches":  `while true do pcall(string.find, ("a"):rep(3000), "a*a*a*a*a*a*b") end`,
		"a balanced pattern":      `local s = ("("):rep(100000) return s:find("%b()")`,
		"a sort of many":          `local t = {} for i = 1, 300000 do t[i] = -i end while true do table.sort(t) for i = 1, #t do t[i] = -t[i] end end`,
		"a table.insert":          `local t = {} for i = 1, 100000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, "function transform(action, record)\n if record.ok then return 'fine' end\n"+statements+"\nend")
			for range 2 {
				timer := time.AfterFunc(20*time.Millisecond, func() { p.Interrupt(language.Errorf(language.KindTimeout, "took too long")) })
				start := time.Now()
				_, err := call(t, p, `{}`)
				timer.Stop()
				require.NotNil(t, err)
				require.Equal(t, language.KindTimeout, err.Kind, "%v", err)
				require.Equal(t, "took too long", err.Message)
				require.Equal(t, 3, err.Line, "%v", err)
				require.Less(t, time.Since(start), 5*time.Second)
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
	for range 2000 {
		if _, err := call(t, p, `{"n":1}`); err != nil {
			require.Equal(t, language.KindTimeout, err.Kind)
		}
	}
	close(done)
	wg.Wait()
	got, err = call(t, p, `{"n":2}`)
	require.Nil(t, err)
	require.Equal(t, `2`, got)
}

func TestRecursionEnds(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]string{
		"a function":         `local x = transform(action, record) return x`,
		"through pcall":      `local function f() local ok, e = pcall(f) if not ok then error(e, 0) end end f()`,
		"through gsub":       `local function f() return (("x"):gsub("x", f)) end local x = f() return x`,
		"through sort":       `local function f() table.sort({1, 2}, f) end f()`,
		"through __index":    `local t = {} setmetatable(t, {__index = function(t, k) local x = t[k] return x end}) local x = t.x return x`,
		"through __tostring": `local t = {} setmetatable(t, {__tostring = function(t) return tostring(t) .. "" end}) local x = tostring(t) return x`,
		"through __lt":       `local t = {} setmetatable(t, {__lt = function(a, b) local x = a < b return x end}) local x = t < t return x`,
		"through __concat":   `local t = {} setmetatable(t, {__concat = function(a, b) local x = a .. b return x end}) local x = t .. t return x`,
		"through __call":     `local t = {} setmetatable(t, {__call = function(t) local x = t() return x end}) local x = t() return x`,
		"through __eq":       `local t, u = {}, {} local mt = {__eq = function(a, b) local x = a == b return x end} setmetatable(t, mt) setmetatable(u, mt) local x = t == u return x`,
		"through __newindex": `local t = {} setmetatable(t, {__newindex = function(t, k, v) t[k] = v end}) t.x = 1`,
		"through __unm":      `local t = {} setmetatable(t, {__unm = function(t) local x = -t return x end}) local x = -t return x`,
		"through for":        `local function f() for x in f do end end f()`,
		"unpack":             `return unpack({}, 1, 1e7)`,
		"many arguments":     `local t = {} for i = 1, 1e6 do t[i] = i end return select("#", unpack(t))`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := compile(t, "function transform(action, record)\n if record.ok then return 'fine' end\n"+statements+"\nend")
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
	got, err := run(t, `local function f(n) if n == 0 then return "done" end return f(n - 1) end function transform() return f(100000) end`, `{}`)
	require.Nil(t, err, "a tail call is none")
	require.Equal(t, `"done"`, got)
}

func TestDeepValues(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	p := compile(t, `function transform(action, record) return record end`)
	got, err := call(t, p, deep(9999))
	require.Nil(t, err)
	require.Equal(t, deep(9999), got)
	for _, n := range []int{10_001, 1_000_000} {
		_, err = call(t, p, deep(n))
		require.NotNil(t, err)
		require.Equal(t, language.KindMemory, err.Kind)
	}
}

func TestAbsurdCallsAreRefused(t *testing.T) {
	t.Parallel()
	// How long one takes that is just allowed, on this machine and beside whatever else runs; the others stop at about as much.
	begun := time.Now()
	_, err := run(t, body(`return #("x"):rep(3e6):gsub("x", "%0yyyyyyyyy")`), `{}`)
	require.Nil(t, err)
	limit := max(10*time.Second, 20*time.Since(begun))
	for _, expression := range []string{
		`string.rep("x", 1e9)`, `("x"):rep(2^60)`, `("xy"):rep(math.huge)`, `("x"):rep(1e7):gsub("x", ("y"):rep(1e4))`, `("x"):rep(1e5):gsub("x", "%0" .. ("y"):rep(1000))`,
		`table.concat({("x"):rep(6e7), ("x"):rep(6e7)})`, `(function() local t, s = {}, ("x"):rep(1e6) for i = 1, 100 do t[i] = s end return table.concat(t, s) end)()`,
		`string.format(("%99d"):rep(1e6), unpack({}))`, `string.format("%s%s", ("x"):rep(6e7), ("x"):rep(6e7))`,
		`(function() local n = 3 + 9007199254740993 for i = 1, 20 do n = n * n end return n end)()`,
	} {
		t.Run(expression, func(t *testing.T) {
			start := time.Now() // one after the other: each takes much memory
			_, err := run(t, "function transform(action, record)\n  local x = "+expression+"\n  return #x end", `{}`)
			require.NotNil(t, err)
			if !strings.Contains(expression, "%99d") {
				require.Equal(t, language.KindMemory, err.Kind, "%v", err)
			}
			require.Equal(t, 2, err.Line)
			require.Less(t, time.Since(start), limit)
		})
	}
	for _, expression := range []string{`string.format("%9999999d", 1)`, `string.format("%.100f", 1)`, `string.format("%1.2.3d", 1)`, `string.format("%y", 1)`, `string.format("%")`} {
		_, err := run(t, body(`return `+expression), `{}`)
		require.NotNil(t, err, expression)
		require.Contains(t, err.Message, "invalid conversion")
	}
	got, err := run(t, body(`local t = {} t[60000000] = 1 t[2^53] = 2 return object(t)`), `{}`)
	require.Nil(t, err)
	require.Equal(t, `{"60000000":1,"9007199254740992":2}`, got)
}
