package message_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
)

var micros = message.Format{UnixMicros: true}

func arrayOf(elem cdc.Type) cdc.Type {
	return cdc.Type{Kind: cdc.KindArray, Delim: ',', Elem: &elem}
}

type valueCase struct {
	text, want string
}

func checkValues(t *testing.T, typ cdc.Type, f message.Format, cases map[string]valueCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := string(message.AppendValue([]byte("before "), &typ, []byte(tc.text), f))
			require.Equal(t, "before "+tc.want, got)
			require.True(t, json.Valid([]byte(got[len("before "):])), got)
		})
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{}, message.Format{}, map[string]valueCase{
		"empty":                {"", `""`},
		"plain":                {"hello", `"hello"`},
		"quote and backslash":  {`a"b\c`, `"a\"b\\c"`},
		"slash stays":          {`</a>&`, `"</a>&"`},
		"short escapes":        {"\b\f\n\r\t", `"\b\f\n\r\t"`},
		"control characters":   {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
		"letters outside":      {"Grüße, 世界 🎉", `"Grüße, 世界 🎉"`},
		"line separators":      {"a\u2028b\u2029", "\"a\u2028b\u2029\""},
		"not UTF-8":            {"a\xffb\xc3", "\"a\ufffdb\ufffd\""},
		"surrogate":            {"\xed\xa0\x80", "\"\ufffd\ufffd\ufffd\""},
		"overlong":             {"\xc0\xaf", "\"\ufffd\ufffd\""},
		"cut after eight":      {"12345678\"", `"12345678\""`},
		"special at each of 8": {"\"234567\n", `"\"234567\n"`},
		"foreign at the end":   {"1234567é", `"1234567é"`},
		"blanks are kept":      {"  x  ", `"  x  "`},
		"bytea":                {`\x0a0b`, `"\\x0a0b"`},
		"a replacement itself": {"\ufffd", "\"\ufffd\""},
	})
}

func TestStringAtEveryOffset(t *testing.T) {
	t.Parallel()
	for pad := range 20 {
		for c := range 256 {
			in := strings.Repeat("x", pad) + string([]byte{byte(c)}) + "yyyyyyyyy"
			got := message.AppendValue(nil, &cdc.Type{}, []byte(in), message.Format{})
			var out string
			require.NoError(t, json.Unmarshal(got, &out), "%q", got)
			require.Equal(t, strings.ToValidUTF8(in, "\ufffd"), out)
		}
	}
}

func TestNilTypeIsText(t *testing.T) {
	t.Parallel()
	require.Equal(t, `"1"`, string(message.AppendValue(nil, nil, []byte("1"), message.Format{})))
}

func TestBool(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindBool}, message.Format{}, map[string]valueCase{
		"true":  {"t", "true"},
		"false": {"f", "false"},
		"other": {"true", `"true"`},
		"empty": {"", `""`},
		"wrong": {"x", `"x"`},
	})
}

func TestInt(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindInt}, message.Format{}, map[string]valueCase{
		"zero":          {"0", "0"},
		"beyond 2^53":   {"9007199254740993", "9007199254740993"},
		"least":         {"-9223372036854775808", "-9223372036854775808"},
		"leading zero":  {"007", `"007"`},
		"fraction":      {"1.0", `"1.0"`},
		"plus":          {"+1", `"+1"`},
		"minus alone":   {"-", `"-"`},
		"empty":         {"", `""`},
		"digits and so": {"12a", `"12a"`},
	})
}

func TestFloat(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindFloat}, message.Format{}, map[string]valueCase{
		"integral":          {"1", "1.0"},
		"negative zero":     {"-0", "-0.0"},
		"fraction":          {"0.1", "0.1"},
		"exponent":          {"1e+20", "1e+20"},
		"negative exponent": {"1e-05", "1e-05"},
		"greatest":          {"1.7976931348623157e+308", "1.7976931348623157e+308"},
		"not a number":      {"NaN", `"NaN"`},
		"infinity":          {"Infinity", `"Infinity"`},
		"minus infinity":    {"-Infinity", `"-Infinity"`},
		"point alone":       {"1.", `"1."`},
		"exponent alone":    {"1e", `"1e"`},
		"empty":             {"", `""`},
	})
}

func TestNumericIsText(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindNumeric}, message.Format{}, map[string]valueCase{
		"scale is kept": {"199.90", `"199.90"`},
		"1000 digits":   {strings.Repeat("9", 1000), `"` + strings.Repeat("9", 1000) + `"`},
		"not a number":  {"NaN", `"NaN"`},
		"infinity":      {"-Infinity", `"-Infinity"`},
	})
}

func TestJSON(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 8000) + strings.Repeat("]", 8000)
	tooDeep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	checkValues(t, cdc.Type{Kind: cdc.KindJSON}, message.Format{}, map[string]valueCase{
		"digits stay":          {`{"a": 1.10, "b": 1e400}`, `{"a": 1.10, "b": 1e400}`},
		"duplicates and order": {`{"b":1,"a":2,"b":3}`, `{"b":1,"a":2,"b":3}`},
		"white space":          {" {\n\t\"a\" : [ 1 , 2 ] } \r\n", " {\n\t\"a\" : [ 1 , 2 ] } \r\n"},
		"null":                 {"null", "null"},
		"words":                {"[true,false,null]", "[true,false,null]"},
		"string":               {`"a\u0000\"\\\/\ud800"`, `"a\u0000\"\\\/\ud800"`},
		"empty containers":     {`[{},[ ],{ }]`, `[{},[ ],{ }]`},
		"long string":          {`"` + strings.Repeat("x", 100) + `"`, `"` + strings.Repeat("x", 100) + `"`},
		"deep":                 {deep, deep},
		"too deep":             {tooDeep, `"` + tooDeep + `"`},
		"not UTF-8":            {"{\"a\":\"\xff\"}", "{\"a\":\"\ufffd\"}"},
		"not UTF-8 outside":    {"\xff", "\"\ufffd\""},
		"empty":                {"", `""`},
		"blank":                {" ", `" "`},
		"two values":           {"1 2", `"1 2"`},
		"trailing comma":       {"[1,]", `"[1,]"`},
		"key without value":    {`{"a"}`, `"{\"a\"}"`},
		"key not a string":     {`{1:2}`, `"{1:2}"`},
		"open":                 {`{"a":[1`, `"{\"a\":[1"`},
		"bad escape":           {`"\x"`, `"\"\\x\""`},
		"short unicode":        {`"\u12"`, `"\"\\u12\""`},
		"bad unicode":          {`"\u12g4"`, `"\"\\u12g4\""`},
		"raw control":          {"\"a\nb\"", `"\"a\nb\""`},
		"bad word":             {"nul", `"nul"`},
		"leading zero":         {"01", `"01"`},
	})
}

func TestTimestamp(t *testing.T) {
	t.Parallel()
	typ := cdc.Type{Kind: cdc.KindTimestamp}
	checkValues(t, typ, message.Format{}, map[string]valueCase{
		"no fraction":    {"2025-01-02 03:04:05", `"2025-01-02T03:04:05.000000"`},
		"full fraction":  {"2025-01-02 03:04:05.123456", `"2025-01-02T03:04:05.123456"`},
		"short fraction": {"2025-01-02 03:04:05.1", `"2025-01-02T03:04:05.100000"`},
		"first year":     {"0001-01-01 00:00:00", `"0001-01-01T00:00:00.000000"`},
		"last instant":   {"9999-12-31 23:59:59.999999", `"9999-12-31T23:59:59.999999"`},
		"infinity":       {"infinity", `"infinity"`},
		"minus infinity": {"-infinity", `"-infinity"`},
		"BC":             {"0044-03-15 12:00:00 BC", `"0044-03-15 12:00:00 BC"`},
		"BC fraction":    {"0044-03-15 12:00:00.5 BC", `"0044-03-15 12:00:00.5 BC"`},
		"five digits":    {"10000-01-01 00:00:00", `"10000-01-01 00:00:00"`},
		"other style":    {"Thu Jan 02 03:04:05 2025", `"Thu Jan 02 03:04:05 2025"`},
		"a zone":         {"2025-01-02 03:04:05+00", `"2025-01-02 03:04:05+00"`},
		"point alone":    {"2025-01-02 03:04:05.", `"2025-01-02 03:04:05."`},
		"seven digits":   {"2025-01-02 03:04:05.1234567", `"2025-01-02 03:04:05.1234567"`},
		"month 13":       {"2025-13-02 03:04:05", `"2025-13-02 03:04:05"`},
		"hour 24":        {"2025-12-02 24:00:00", `"2025-12-02 24:00:00"`},
		"empty":          {"", `""`},
	})
}

func TestTimestampMicros(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindTimestamp}, micros, map[string]valueCase{
		"epoch":       {"1970-01-01 00:00:00", "0"},
		"now":         {"2025-07-01 10:11:12.345678", "1751364672345678"},
		"before":      {"1969-12-31 23:59:59.999999", "-1"},
		"leap day":    {"2024-02-29 00:00:00", "1709164800000000"},
		"first year":  {"0001-01-01 00:00:00", "-62135596800000000"},
		"last":        {"9999-12-31 23:59:59.999999", "253402300799999999"},
		"infinity":    {"infinity", `"infinity"`},
		"BC":          {"0044-03-15 12:00:00 BC", `"0044-03-15 12:00:00 BC"`},
		"five digits": {"10000-01-01 00:00:00", `"10000-01-01 00:00:00"`},
	})
}

func TestTimestampTZ(t *testing.T) {
	t.Parallel()
	typ := cdc.Type{Kind: cdc.KindTimestampTZ}
	checkValues(t, typ, message.Format{}, map[string]valueCase{
		"UTC":                  {"2025-01-02 03:04:05.12+00", `"2025-01-02T03:04:05.120000Z"`},
		"east":                 {"2025-01-02 03:04:05+05:30", `"2025-01-01T21:34:05.000000Z"`},
		"west":                 {"2025-01-02 23:04:05.000001-08", `"2025-01-03T07:04:05.000001Z"`},
		"local mean time":      {"1890-01-02 03:04:05+05:30:15", `"1890-01-01T21:33:50.000000Z"`},
		"over the leap day":    {"2024-02-28 23:30:00-01", `"2024-02-29T00:30:00.000000Z"`},
		"century without leap": {"1900-02-28 23:30:00-01", `"1900-03-01T00:30:00.000000Z"`},
		"over the year":        {"2024-12-31 23:30:00-01", `"2025-01-01T00:30:00.000000Z"`},
		"past 9999":            {"9999-12-31 23:30:00-01", `"9999-12-31 23:30:00-01"`},
		"before year 1":        {"0001-01-01 00:30:00+01", `"0001-01-01 00:30:00+01"`},
		"infinity":             {"infinity", `"infinity"`},
		"BC":                   {"0044-03-15 12:00:00+00 BC", `"0044-03-15 12:00:00+00 BC"`},
		"no zone":              {"2025-01-02 03:04:05", `"2025-01-02 03:04:05"`},
		"half a zone":          {"2025-01-02 03:04:05+0", `"2025-01-02 03:04:05+0"`},
		"zone by name":         {"2025-01-02 03:04:05 CET", `"2025-01-02 03:04:05 CET"`},
	})
	t.Run("micros", func(t *testing.T) {
		t.Parallel()
		checkValues(t, typ, micros, map[string]valueCase{
			"UTC":       {"2025-07-01 10:11:12.345678+00", "1751364672345678"},
			"east":      {"2025-07-01 15:41:12.345678+05:30", "1751364672345678"},
			"infinity":  {"-infinity", `"-infinity"`},
			"past 9999": {"9999-12-31 23:30:00-01", `"9999-12-31 23:30:00-01"`},
		})
	})
}

func TestDateAndTimeAreText(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindDate}, micros, map[string]valueCase{
		"date":     {"2025-01-02", `"2025-01-02"`},
		"infinity": {"infinity", `"infinity"`},
		"BC":       {"0044-03-15 BC", `"0044-03-15 BC"`},
	})
	checkValues(t, cdc.Type{Name: "timetz"}, micros, map[string]valueCase{
		"all of it": {"03:04:05.123456+05:30", `"03:04:05.123456+05:30"`},
	})
}

func TestInterval(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindInterval}, message.Format{}, map[string]valueCase{
		"zero":           {"00:00:00", `{"months":0,"days":0,"microseconds":0}`},
		"all parts":      {"1 year 2 mons 3 days 04:05:06.789", `{"months":14,"days":3,"microseconds":14706789000}`},
		"singular":       {"1 year 1 mon 1 day", `{"months":13,"days":1,"microseconds":0}`},
		"mixed signs":    {"-1 years -2 mons +3 days -04:05:06.789", `{"months":-14,"days":3,"microseconds":-14706789000}`},
		"plus time":      {"-1 days +02:03:00", `{"months":0,"days":-1,"microseconds":7380000000}`},
		"100 hours":      {"100:00:00", `{"months":0,"days":0,"microseconds":360000000000}`},
		"most hours":     {"2562047788:00:54.775807", `{"months":0,"days":0,"microseconds":9223372036854775807}`},
		"least":          {"-2562047788:00:54.775808", `{"months":0,"days":0,"microseconds":-9223372036854775808}`},
		"too many hours": {"2562047788:00:54.775808", `"2562047788:00:54.775808"`},
		"far too many":   {"9999999999:00:00", `"9999999999:00:00"`},
		"small fraction": {"00:00:00.000001", `{"months":0,"days":0,"microseconds":1}`},
		"minus fraction": {"-00:00:00.5", `{"months":0,"days":0,"microseconds":-500000}`},
		"many years":     {"178956970 years 7 mons", `{"months":2147483647,"days":0,"microseconds":0}`},
		"infinity":       {"infinity", `"infinity"`},
		"minus infinity": {"-infinity", `"-infinity"`},
		"verbose":        {"@ 1 year 2 mons", `"@ 1 year 2 mons"`},
		"iso 8601":       {"P1Y2M", `"P1Y2M"`},
		"sql standard":   {"+1-2 +3 +4:05:06", `"+1-2 +3 +4:05:06"`},
		"number alone":   {"3", `"3"`},
		"unknown unit":   {"3 weeks", `"3 weeks"`},
		"clock not last": {"04:05:06 1 day", `"04:05:06 1 day"`},
		"trailing blank": {"1 day ", `"1 day "`},
		"seven digits":   {"00:00:00.1234567", `"00:00:00.1234567"`},
		"minute missing": {"04:05", `"04:05"`},
		"empty":          {"", `""`},
	})
}

func TestVector(t *testing.T) {
	t.Parallel()
	checkValues(t, cdc.Type{Kind: cdc.KindVector}, message.Format{}, map[string]valueCase{
		"numbers":        {"[1,2.5,-3e-05]", "[1,2.5,-3e-05]"},
		"one":            {"[0]", "[0]"},
		"none":           {"[]", "[]"},
		"sparse":         {"{1:1,3:2}/5", `"{1:1,3:2}/5"`},
		"trailing comma": {"[1,]", `"[1,]"`},
		"leading comma":  {"[,1]", `"[,1]"`},
		"no number":      {"[1,NaN]", `"[1,NaN]"`},
		"open":           {"[1", `"[1"`},
		"bracket alone":  {"[", `"["`},
		"two brackets":   {"[1]]", `"[1]]"`},
		"empty":          {"", `""`},
	})
}

func TestArray(t *testing.T) {
	t.Parallel()
	checkValues(t, arrayOf(cdc.Type{Kind: cdc.KindInt}), message.Format{}, map[string]valueCase{
		"empty":          {"{}", "[]"},
		"null":           {"{1,NULL,3}", "[1,null,3]"},
		"nested":         {"{{1,2},{3,4}}", "[[1,2],[3,4]]"},
		"six dimensions": {"{{{{{{1}}}}}}", "[[[[[[1]]]]]]"},
		"seven":          {"{{{{{{{1}}}}}}}", `"{{{{{{{1}}}}}}}"`},
		"bounds":         {"[0:2]={1,2,3}", "[1,2,3]"},
		"more bounds":    {"[-2:-1][5:5]={{1},{2}}", "[[1],[2]]"},
		"bad bounds":     {"[a:b]={1}", `"[a:b]={1}"`},
		"bounds alone":   {"[0:2]=", `"[0:2]="`},
		"no bounds end":  {"[0:2]{1}", `"[0:2]{1}"`},
		"open":           {"{1,2", `"{1,2"`},
		"text after":     {"{1}x", `"{1}x"`},
		"two arrays":     {"{1}{2}", `"{1}{2}"`},
		"not separated":  {"{{1}{2}}", `"{{1}{2}}"`},
		"trailing comma": {"{1,}", `"{1,}"`},
		"leading comma":  {"{,1}", `"{,1}"`},
		"not an array":   {"1", `"1"`},
		"no text":        {"", `""`},
	})
}

func TestArrayOfText(t *testing.T) {
	t.Parallel()
	checkValues(t, arrayOf(cdc.Type{}), message.Format{}, map[string]valueCase{
		"plain":             {"{a,b}", `["a","b"]`},
		"empty string":      {`{""}`, `[""]`},
		"null and text":     {`{NULL,"NULL","null"}`, `[null,"NULL","null"]`},
		"lower-case null":   {`{null}`, `["null"]`},
		"escapes":           {`{"a\"b","c\\d","{x}","e,f"," "}`, `["a\"b","c\\d","{x}","e,f"," "]`},
		"line break":        {"{\"a\nb\"}", `["a\nb"]`},
		"quotes left open":  {`{"a}`, `"{\"a}"`},
		"escape left open":  {`{"a\`, `"{\"a\\"`},
		"escape then end":   {`{"a\"`, `"{\"a\\\""`},
		"escape then quote": {`{"a\""`, `"{\"a\\\"\""`},
		"bare escape":       {`{a\b}`, `"{a\\b}"`},
		"bare quote":        {`{a"b}`, `"{a\"b}"`},
		"text after quote":  {`{"a"b}`, `"{\"a\"b}"`},
		"not UTF-8":         {"{\"\xff\\\"\"}", "[\"\ufffd\\\"\"]"},
	})
}

func TestArrayElementsFollowTheirType(t *testing.T) {
	t.Parallel()
	box := cdc.Type{Kind: cdc.KindArray, Delim: ';', Elem: &cdc.Type{Name: "box"}}
	noDelim := cdc.Type{Kind: cdc.KindArray, Elem: &cdc.Type{Kind: cdc.KindInt}}
	for name, tc := range map[string]struct {
		typ        cdc.Type
		f          message.Format
		text, want string
	}{
		"bool":                   {arrayOf(cdc.Type{Kind: cdc.KindBool}), message.Format{}, "{t,f}", "[true,false]"},
		"float":                  {arrayOf(cdc.Type{Kind: cdc.KindFloat}), message.Format{}, "{1,NaN,0.5}", `[1.0,"NaN",0.5]`},
		"numeric":                {arrayOf(cdc.Type{Kind: cdc.KindNumeric}), message.Format{}, "{1.50}", `["1.50"]`},
		"json":                   {arrayOf(cdc.Type{Kind: cdc.KindJSON}), message.Format{}, `{"{\"a\": [1, \"\\\\\"]}",null,NULL,1}`, `[{"a": [1, "\\"]},null,null,1]`},
		"timestamp":              {arrayOf(cdc.Type{Kind: cdc.KindTimestamp}), message.Format{}, `{"2025-01-02 03:04:05"}`, `["2025-01-02T03:04:05.000000"]`},
		"micros":                 {arrayOf(cdc.Type{Kind: cdc.KindTimestampTZ}), micros, `{{"1970-01-01 00:00:01+00"},{infinity}}`, `[[1000000],["infinity"]]`},
		"interval":               {arrayOf(cdc.Type{Kind: cdc.KindInterval}), message.Format{}, `{"1 day",01:00:00}`, `[{"months":0,"days":1,"microseconds":0},{"months":0,"days":0,"microseconds":3600000000}]`},
		"bytea":                  {arrayOf(cdc.Type{}), message.Format{}, `{"\\x0a"}`, `["\\x0a"]`},
		"box":                    {box, message.Format{}, "{(1,1),(0,0);(2,2),(1,1)}", `["(1,1),(0,0)","(2,2),(1,1)"]`},
		"composite":              {arrayOf(cdc.Type{}), message.Format{}, `{"(1,\"a b\")"}`, `["(1,\"a b\")"]`},
		"vector":                 {arrayOf(cdc.Type{Kind: cdc.KindVector}), message.Format{}, `{"[1,2]"}`, `[[1,2]]`},
		"array inside is broken": {arrayOf(arrayOf(cdc.Type{})), message.Format{}, `{"{1,\"a\\\\\"b\"}","{}"}`, `["{1,\"a\\\\\"b\"}",[]]`},
		"array domain":           {arrayOf(arrayOf(cdc.Type{})), message.Format{}, `{"{1,\"a\\\"b\"}","{}"}`, `[["1","a\"b"],[]]`},
		"no delimiter":           {noDelim, message.Format{}, "{1,2}", "[1,2]"},
		"no element":             {cdc.Type{Kind: cdc.KindArray}, message.Format{}, "{1,2}", `["1","2"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := message.AppendValue(nil, &tc.typ, []byte(tc.text), tc.f)
			require.Equal(t, tc.want, string(got))
			require.True(t, json.Valid(got))
		})
	}
}

func TestCompact(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"nothing to do":  {`{"a":1}`, `{"a":1}`},
		"white space":    {" {\n\t\"a b\" : [ 1 ,\r\n 2 ] } ", `{"a b":[1,2]}`},
		"escaped quotes": {`{ "a\" \\" : "\\\" " }`, `{"a\" \\":"\\\" "}`},
		"long string":    {`[ "` + strings.Repeat("x ", 50) + `" ]`, `["` + strings.Repeat("x ", 50) + `"]`},
		"empty":          {"", ""},
		"blank":          {" \n", ""},
		"left open":      {`["a `, `["a `},
		"escape at end":  {`["a\`, `["a\`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, "x"+tc.want, string(message.Compact([]byte("x"), []byte(tc.in))))
		})
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	require.True(t, message.Valid([]byte(" {\"a\":[1]}\n")))
	require.False(t, message.Valid(nil))
	require.False(t, message.Valid([]byte("{")))
	require.False(t, message.Valid([]byte("\"\xff\"")))
}
