package elixir_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/elixir"
	"github.com/sequinstream/sequin/internal/transform/javascript"
	"github.com/sequinstream/sequin/internal/transform/language"
)

// inFunction puts expressions on the second line of a function.
func inFunction(expressions string) string {
	return "def transform(action, record, changes, metadata) do\n  " + expressions + "\nend\n"
}

// TestRefusals shows what is refused, where, and with which advice. Each would have another answer in JavaScript, or none.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, want string }{
		"dot on a record":            {`record.id`, `2:10: record.id: is an error: the keys are texts; write record["id"]`},
		"an atom in a record":        {`record[:id]`, `2:10: record[:id]: is always nil: the keys are texts; write "id" as the key`},
		"an atom looked up":          {`Map.get(record, :id)`, `2:19: Map.get :id: finds nothing: the keys are texts; write "id"`},
		"an atom dropped":            {`Map.drop(record, [:password])`, `2:21: Map.drop :password: finds nothing: the keys are texts; write "password"`},
		"a text in a literal":        {`x = %{a: 1}` + "\n" + `x["a"]`, `3:3: x["a"]: looks for a text where the key is an atom, which is another key; write :a as the key, or map.a`},
		"a text in metadata":         {`metadata["table_name"]`, `2:12: metadata["table_name"]: is an error: metadata is a struct; write metadata.name with a dot`},
		"an unknown field":           {`metadata.table`, `2:12: metadata.table: is no field that is there`},
		"an atom and a text":         {`record["status"] == :paid`, `2:20: ==: an atom never equals a text`},
		"an atom in a list":          {`record["status"] in [:paid]`, `2:20: in: an atom never equals a text`},
		"an atom as a pattern":       {"case record[\"status\"] do\n    :paid -> 1\n  end", `3:5: :paid: is a pattern for a value that it is not compared with as in Elixir: an atom never equals a text; write a text: "paid"`},
		"a time and a text":          {`metadata.commit_timestamp == "2026"`, `2:29: ==: a date or a time never equals a text`},
		"times in order":             {`metadata.commit_timestamp > metadata.commit_timestamp`, `2:29: >: compares the parts of dates and times`},
		"both keys":                  {`%{"a" => 1, a: 2}`, `2:15: :a: stands twice in this map, as an atom and as a text: JSON would have the key twice`},
		"a text beside its atom":     {`%{a: 1} |> Map.put("a", 2)`, `2:22: Map.put "a": would stand beside the atom :a`},
		"a tuple as result":          {`{:ok, record["id"]}`, `1:1: the result of transform: may hold a tuple, which is no JSON`},
		"pairs as result":            {`Enum.to_list(record)`, `1:1: the result of transform: may hold a tuple, which is no JSON`},
		"a function as result":       {`fn x -> x end`, `1:1: the result of transform: may hold a function`},
		"a tuple's pattern":          {"case record[\"a\"] do\n    {:ok, x} -> x\n  end", `3:5: the tuple {…}: never matches here: the value is no tuple`},
		"a charlist":                 {`'abc'`, `2:3: a charlist '…': is a list of numbers; write a text: "…"`},
		"a struct":                   {`%Date{year: 1}`, `2:3: the struct %Date{…}: is not converted`},
		"a binary":                   {`<<1, 2>>`, `2:3: a binary <<…>>: is not converted`},
		"a range":                    {`1..3`, `2:4: the range ..: is not converted`},
		"Erlang":                     {`:crypto.hash(:md5, "x")`, `2:3: :crypto.hash: calls Erlang, which functions may not`},
		"another module":             {`MyApp.run(record)`, `2:3: MyApp.run/1: is not converted`},
		"an unknown function":        {`foo(1)`, `2:3: foo/1: is no function that is known`},
		"an unknown variable":        {`x`, `2:3: x: is no variable that is known here`},
		"a variable of a branch":     {"if action == \"x\" do\n    y = 1\n  end\n  y", `5:3: y: is no variable that is known here; bind it before; what is bound inside of if, case or fn ends with it`},
		"the clock":                  {`DateTime.utc_now()`, `2:3: DateTime.utc_now: is another time with every attempt; use metadata.commit_timestamp`},
		"inspect":                    {`inspect(record)`, `2:3: inspect: prints values as Elixir writes them`},
		"atoms of texts":             {`String.to_atom("x")`, `2:3: String.to_atom: makes atoms, which are texts in the result anyway; leave the text as it is`},
		"try":                        {"try do\n    1\n  rescue\n    _ -> 2\n  end", `2:3: try … do: is not converted`},
		"a match in an expression":   {`1 + (x = 2)`, `2:10: =: stands inside of an expression; write it on a line of its own before`},
		"as many as it takes":        {`String.upcase(action, :greek)`, `2:3: String.upcase/2: is not converted with so many values; use String.upcase/1`},
		"is_struct":                  {`is_struct(record["at"])`, `2:3: is_struct: tells dates and decimals from texts, which they are here`},
		"sorting modules":            {`Enum.sort([~D[2026-01-01]], Date)`, `2:31: Enum.sort: is converted with :asc or :desc only`},
		"an expression of bytes":     {`Regex.match?(~r/é/, action)`, `2:16: ~r: é without the option u: means something else in JavaScript, or nothing`},
		"a repeated group":           {`Regex.run(~r/(?:(a)|b)+/, action)`, `2:13: ~r: a group inside of a repeated one, (?:(a)|b)+: means something else in JavaScript, or nothing`},
		"possessive":                 {`Regex.match?(~r/a++/, action)`, `2:16: ~r: ++: means something else in JavaScript, or nothing`},
		"an option of an expression": {`Regex.match?(~r/a b/x, action)`, `2:16: the option x of ~r: is not converted`},
		"text of a tuple":            {`"#{{1, 2}}"`, `2:6: the text of {…}: would be an error`},
		"a number for a text":        {`String.upcase(1)`, `2:17: String.upcase: takes a text, and 1 is or may be another value`},
		"an atom for a text":         {`String.upcase(:a)`, `2:17: String.upcase: takes a text, and :a is or may be another value`},
		"text arithmetic":            {`action + 1`, `2:10: +: calculates with something that is no number`},
		"a key that is a number":     {`%{1 => 2}`, `2:5: the key 1: is no text; use a text: to_string(…)`},
		"a struct's update":          {`%{record | id: 1}`, `2:14: %{… | id: …}: is an error: the key is not there as an atom; write "id" => …, or Map.put`},
		"is_binary of either":        {`x = if action == "a", do: :a, else: "a"` + "\n  is_binary(x)", `3:3: is_binary: cannot tell what the value is`},
		"reduce without end":         {`Enum.reduce([1], 0, fn _, acc -> {acc} end)`, `2:3: Enum.reduce: carries a value along that is of another kind in each round`},
		"unclosed text":              {`"abc`, `2:3: this text: is not closed`},
		"unclosed interpolation":     {`"a#{1`, `2:5: #{: is not closed`},
		"not closed":                 {"(1 + 2", `3:1: end: does not belong here; a value was expected`},
		"a lone operator":            {`* 2`, `2:3: *: does not belong here`},
		"map with no value":          {`%{a}`, `2:5: this part of a map: is no pair`},
		"for with reduce":            {`for x <- [1], reduce: 0 do acc -> acc + x end`, `2:3: for: is not converted with reduce or without a body`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := elixir.Convert(inFunction(c.code))
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), c.want), "%s\nwanted: %s", err, c.want)
		})
	}
}

func TestRefusalsOutside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, want string }{
		"nothing":             {"", `1:1: the code: defines no function`},
		"no definition":       {"1 + 1", `1:3: +: stands outside of the function`},
		"a helper":            {"def helper(x), do: x", `1:5: def helper: is none of transform, filter and route`},
		"too few parameters":  {"def transform(record), do: record", `1:5: def transform: has 1 parameters; it takes four`},
		"two functions":       {"def filter(_, _, _, _), do: true\ndef route(_, _, _, _), do: %{}", `2:5: def route: stands beside def filter`},
		"a module":            {"defmodule X do\n  def filter(_, _, _, _), do: true\nend", `1:1: defmodule: stands outside of the function`},
		"a filter of numbers": {"def filter(_, record, _, _), do: length(record[\"a\"])", `1:1: the result of filter: is never true or false`},
		"no UTF-8":            {"def \xff", `1:1: the code: is not text in UTF-8`},
		"a parameter's name":  {"def filter(_action, _, _, _), do: action == \"x\"", `1:35: action: is not the name of a parameter of this clause`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := elixir.Convert(c.code)
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), c.want), "%s\nwanted: %s", err, c.want)
		})
	}
}

func TestAllRefusalsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := elixir.Convert(inFunction("a = record.id\n  b = foo(a)\n  c = DateTime.utc_now()\n  [a, b, c, :x == \"x\"]"))
	var refused *elixir.Error
	require.ErrorAs(t, err, &refused)
	lines := []int{}
	for _, r := range refused.Refusals {
		lines = append(lines, r.Line)
	}
	require.Equal(t, []int{2, 3, 4, 5}, lines)
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, want string }{
		"the kind of a column": {`is_binary(record["total"])`, `2:3: is_binary of record["total"]: columns of the types numeric, date and timestamp were maps in Elixir`},
		"columns in order":     {`record["a"] > record["b"]`, `2:15: > compares two columns`},
		"order of atoms":       {`JSON.encode!(%{b: 1, a: 2})`, `2:3: JSON.encode!: the order of keys that are atoms is that of the alphabet here`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			converted, err := elixir.Convert(inFunction(c.code))
			require.NoError(t, err)
			require.Len(t, converted.Notes, 1)
			require.True(t, strings.HasPrefix(converted.Notes[0].String(), c.want), converted.Notes[0].String())
		})
	}
}

// TestValuesOnlyHere covers what the corpus cannot: modules that come with other libraries, and values that Elixir had as structs.
func TestValuesOnlyHere(t *testing.T) {
	t.Parallel()
	const message = `{"record":{"id":1,"total":"199.90","tax":"0.5","payload":{"b":1.0,"a":[1,null,"é"],"n":1e2},"vector":[1.0,2,2.5],"at":"2026-01-02T03:04:05.123456Z","status":"x","table":1},` +
		`"changes":null,"action":"insert","metadata":{"table_name":"orders","commit_timestamp":"2026-11-22T10:11:12.345678Z"}}`
	for name, c := range map[string]struct{ code, want string }{
		"decimal sum":        {`Decimal.add(record["total"], record["tax"])`, `"200.40"`},
		"decimal difference": {`Decimal.sub(record["tax"], record["total"])`, `"-199.40"`},
		"decimal product":    {`Decimal.mult(record["total"], 2)`, `"399.80"`},
		"decimal order":      {`[Decimal.compare(record["total"], record["tax"]), Decimal.gt?(record["tax"], 1), Decimal.eq?(Decimal.new("0.50"), record["tax"])]`, `["gt",false,true]`},
		"decimal as float":   {`Decimal.to_float(record["total"]) * 10`, `1999.0`},
		"decimal as text":    {`"EUR #{Decimal.to_string(record["total"])}"`, `"EUR 199.90"`},
		"JSON":               {`JSON.encode!(record["payload"])`, `"{\"a\":[1,null,\"é\"],\"b\":1.0,\"n\":100.0}"`},
		"JSON back":          {`Jason.decode!("{\"a\": [1.0]}")["a"]`, `[1.0]`},
		"floats in lists":    {`[record["vector"], Enum.join(record["vector"], " ")]`, `[[1.0,2,2.5],"1.0 2 2.5"]`},
		"copies keep floats": {`Map.put(record["payload"], "x", 1)`, `{"b":1.0,"a":[1,null,"é"],"n":100.0,"x":1}`},
		"a column of time":   {`"at #{record["at"]}"`, `"at 2026-01-02 03:04:05.123456Z"`},
		"untouched":          {`%{data: record["payload"]}`, `{"data":{"b":1.0,"a":[1,null,"é"],"n":1e2}}`},
		"as it was written":  {`%{"z" => 1, "a" => 2, m: 3}`, `{"z":1,"a":2,"m":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			converted, err := elixir.Convert(inFunction(c.code))
			require.NoError(t, err)
			got, err := compile(t, converted).Call(nil, []byte(message))
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	for name, c := range map[string]struct{ code, want string }{
		"an atom beside its text":   {`Map.put(record, :table, "x")`, `the key "table" is there as a text: JSON would have it twice`},
		"atoms meet texts":          {`Map.merge(record, %{status: "y"})`, `the key "status" is there as an atom and as a text`},
		"a key that is no text":     {`Map.new(record["payload"]["a"], fn x -> {x, 1} end)`, `a key that is a text is needed, not 1`},
		"a map where a list is":     {`Enum.map(record["payload"], fn x -> x["y"] end)`, `a list is needed`},
		"characters of a script":    {`String.length("नमस्ते")`, `are not counted as Elixir counts them`},
		"a part of a character":     {`String.replace("é", ~r/^./, "")`, `Malformed URI`},
		"an empty text is replaced": {`String.replace(action, "", "-")`, `an empty text is not replaced`},
		"digits of decimals":        {`Decimal.mult(Decimal.new("12345678901234567890"), Decimal.new("12345678901234567890"))`, `more than 28 digits`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			converted, err := elixir.Convert(inFunction(c.code))
			require.NoError(t, err)
			_, err = compile(t, converted).Call(nil, []byte(message))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// FuzzParse wants an answer for any code: JavaScript that compiles, or refusals with a place.
func FuzzParse(f *testing.F) {
	for _, file := range corpus(f).Files {
		f.Add(string(file.Data))
	}
	f.Add("def filter(_, %{\"a\" => <<1>>}, 'x', ?a), do: ~r/[/")
	f.Fuzz(func(t *testing.T, code string) {
		converted, err := elixir.Convert(code)
		if err != nil {
			var refused *elixir.Error
			require.ErrorAs(t, err, &refused)
			require.NotEmpty(t, refused.Refusals)
			for _, r := range refused.Refusals {
				require.Positive(t, r.Line)
				require.Positive(t, r.Column)
				require.NotEmpty(t, r.Instead)
			}
			return
		}
		p, err := javascript.Runtime{}.Compile(language.Source{Name: "converted", Entry: language.Entry(converted.Entry), Code: []byte(converted.Code), Output: 1 << 20})
		require.NoError(t, err, converted.Code)
		require.NoError(t, p.Close())
	})
}

// TestTooBig holds what would be looked at for ever.
func TestTooBig(t *testing.T) {
	t.Parallel()
	nested := "x"
	for range 18 {
		nested = "Enum.reduce([1], %{}, fn x, acc -> Map.put(acc, \"a\", " + nested + ") end)"
	}
	for name, code := range map[string]string{
		"reduces in reduces": inFunction(nested),
		"parentheses":        inFunction(strings.Repeat("(", 10_000)),
		"lists":              inFunction(strings.Repeat("[", 50_000)),
		"operators":          inFunction(strings.Repeat("-", 50_000) + "1"),
		"interpolations":     inFunction(strings.Repeat(`"#{`, 20_000)),
		"bytes":              inFunction(strings.Repeat("1\n", 60_000)),
		"a long line":        inFunction("[" + strings.Repeat("a -> ", 15_000) + "]"),
		"heads":              inFunction("fn " + strings.Repeat("[[[] -> ", 12_000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := elixir.Convert(code)
			require.Error(t, err)
		})
	}
}
