package elixir

// function is one of Elixir's that a helper or a piece of JavaScript does. args has a letter for each value: S a text, L a list, M a map, N a
// number, I an integer, T a date or a time, D a decimal, P what to look for in a text, O what is put in order, A anything.
type function struct {
	args   string
	code   string // the helper, or a format with the values
	result *typ
	infer  func([]*typ) *typ
}

func (f *function) strength() int { return strengthEqual }

func sameType(types []*typ) *typ { return types[0] }

func element(types []*typ) *typ {
	if types[0].elem == nil {
		return nilType
	}
	return types[0].elem
}

func perhapsElement(types []*typ) *typ { return join(nilType, types[0].elem) }

func listOfSame(types []*typ) *typ { return listOf(types[0].elem) }

func numeric(types []*typ) *typ { return number(types...) }

func eitherType(types []*typ) *typ { return join(types[0], types[1]) }

//nolint:gochecknoglobals // constants
var (
	dateType     = &typ{kinds: isDate}
	dateTimeType = &typ{kinds: isDateTime}
	naiveType    = &typ{kinds: isNaive}
	decimalType  = &typ{kinds: isDecimal}
	maybeText    = &typ{kinds: isNil | isText}
	parsedType   = join(atomOf("error"), tupleOf(integerType, textType))
)

// library has the functions that need to know nothing of their place.
//
//nolint:gochecknoglobals // a table
var library = map[string]function{
	"abs/1": {args: "N", code: "absolute", infer: numeric}, "ceil/1": {args: "N", code: "ceil", result: integerType}, "floor/1": {args: "N", code: "floor", result: integerType},
	"round/1": {args: "N", code: "round", result: integerType}, "trunc/1": {args: "N", code: "truncate", result: integerType},
	"div/2": {args: "II", code: "div", result: integerType}, "rem/2": {args: "II", code: "rem", result: integerType},
	"hd/1": {args: "L", code: "head", infer: element}, "tl/1": {args: "L", code: "tail", infer: listOfSame}, "length/1": {args: "L", code: "length", result: integerType},
	"map_size/1": {args: "M", code: "mapSize", result: integerType}, "byte_size/1": {args: "S", code: "byteSize", result: integerType},
	"max/2": {args: "OO", code: "greatest", infer: eitherType}, "min/2": {args: "OO", code: "least", infer: eitherType},

	"String.at/2": {args: "SI", code: "characterAt", result: maybeText}, "String.capitalize/1": {args: "S", code: "capitalize", result: textType},
	"String.contains?/2": {args: "SP", code: "contains", result: booleanType}, "String.downcase/1": {args: "S", code: "downcase", result: textType},
	"String.duplicate/2": {args: "SI", code: "repeat", result: textType}, "String.ends_with?/2": {args: "SP", code: "endsWith", result: booleanType},
	"String.first/1": {args: "S", code: "characterAt(%s, 0)", result: maybeText}, "String.graphemes/1": {args: "S", code: "characters", result: textsType},
	"String.codepoints/1": {args: "S", code: "[...string(%s)]", result: textsType}, "String.last/1": {args: "S", code: "characterAt(%s, -1)", result: maybeText},
	"String.length/1": {args: "S", code: "characters(%s).length", result: integerType}, "String.match?/2": {args: "SR", code: "matches(%[2]s, %[1]s)", result: booleanType},
	"String.pad_leading/2": {args: "SI", code: "padLeft", result: textType}, "String.pad_leading/3": {args: "SIS", code: "padLeft", result: textType},
	"String.pad_trailing/2": {args: "SI", code: "padRight", result: textType}, "String.pad_trailing/3": {args: "SIS", code: "padRight", result: textType},
	"String.replace/3": {args: "SQS", code: "replace", result: textType}, "String.replace_prefix/3": {args: "SSS", code: "replacePrefix", result: textType},
	"String.replace_suffix/3": {args: "SSS", code: "replaceSuffix", result: textType}, "String.reverse/1": {args: "S", code: "characters(%s).reverse().join(\"\")", result: textType},
	"String.slice/3": {args: "SII", code: "slice(characters(%s), %s, %s).join(\"\")", result: textType}, "String.split/1": {args: "S", code: "words", result: textsType},
	"String.split/2": {args: "SQ", code: "split", result: textsType}, "String.starts_with?/2": {args: "SP", code: "startsWith", result: booleanType},
	"String.to_integer/1": {args: "S", code: "toInteger", result: integerType}, "String.to_float/1": {args: "S", code: "toFloat", result: floatType},
	"String.trim/1": {args: "S", code: "trim", result: textType}, "String.trim_leading/1": {args: "S", code: "trimLeft", result: textType},
	"String.trim_trailing/1": {args: "S", code: "trimRight", result: textType}, "String.upcase/1": {args: "S", code: "upcase", result: textType},
	"String.valid?/1": {args: "S", code: "isText(%s)", result: booleanType},

	"Integer.to_string/1": {args: "I", code: "String(integer(%s))", result: textType}, "Integer.parse/1": {args: "S", code: "parseInteger", result: parsedType},
	"Integer.mod/2": {args: "II", code: "mod", result: integerType}, "Integer.floor_div/2": {args: "II", code: "floorDiv", result: integerType},

	"Map.keys/1":   {args: "K", code: "entries(%s).map(([key]) => key)", infer: func(a []*typ) *typ { return listOf(keyType(a[0])) }},
	"Map.values/1": {args: "K", code: "entries(%s).map(([, value]) => value)", infer: func(a []*typ) *typ { return listOf(valueType(a[0])) }},
	"Map.new/0":    {code: "mapOf", result: &typ{kinds: isMap, texts: true}},

	"List.first/1": {args: "L", code: "at(%s, 0)", infer: perhapsElement}, "List.last/1": {args: "L", code: "at(%s, -1)", infer: perhapsElement},
	"List.flatten/1":   {args: "L", code: "flatten", infer: func(a []*typ) *typ { return listOf(leaf(a[0].elem)) }},
	"List.duplicate/2": {args: "AI", code: "duplicate", infer: func(a []*typ) *typ { return listOf(a[0]) }},
	"List.delete_at/2": {args: "LI", code: "deleteAt", infer: sameType},

	"Enum.at/2": {args: "LI", code: "at", infer: perhapsElement}, "Enum.at/3": {args: "LIA", code: "at", infer: func(a []*typ) *typ { return join(a[0].elem, a[2]) }},
	"Enum.chunk_every/2": {args: "LI", code: "chunk", infer: func(a []*typ) *typ { return listOf(listOf(a[0].elem)) }},
	"Enum.concat/1":      {args: "L", code: "concatLists", infer: func(a []*typ) *typ { return listOf(element([]*typ{element(a)})) }},
	"Enum.concat/2":      {args: "LL", code: "[...%s, ...%s]", infer: func(a []*typ) *typ { return listOf(join(a[0].elem, a[1].elem)) }},
	"Enum.dedup/1":       {args: "L", code: "dedup", infer: listOfSame}, "Enum.drop/2": {args: "LI", code: "drop", infer: listOfSame},
	"Enum.reverse/1": {args: "L", code: "[...%s].reverse()", infer: listOfSame}, "Enum.slice/3": {args: "LII", code: "slice", infer: listOfSame},
	"Enum.sort/1": {args: "O", code: "sort", infer: listOfSame}, "Enum.max/1": {args: "O", code: "greatestOf", infer: element}, "Enum.min/1": {args: "O", code: "leastOf", infer: element},
	"Enum.sum/1": {args: "L", code: "sum", infer: func(a []*typ) *typ { return number(integerType, element(a)) }}, "Enum.take/2": {args: "LI", code: "take", infer: listOfSame},
	"Enum.uniq/1": {args: "L", code: "unique", infer: listOfSame}, "Enum.with_index/1": {args: "L", code: "withIndex", infer: func(a []*typ) *typ { return listOf(tupleOf(element(a), integerType)) }},
	"Enum.zip/2": {args: "LL", code: "zip", infer: func(a []*typ) *typ { return listOf(tupleOf(element(a), element(a[1:]))) }},

	"DateTime.to_iso8601/1": {args: "T", code: "toDateTime", result: textType}, "NaiveDateTime.to_iso8601/1": {args: "T", code: "naiveOf", result: textType},
	"Date.to_iso8601/1": {args: "T", code: "dateOf", result: textType}, "Date.to_string/1": {args: "T", code: "dateOf", result: textType},
	"DateTime.to_string/1": {args: "T", code: "dateText(toDateTime(%s))", result: textType}, "NaiveDateTime.to_string/1": {args: "T", code: "dateText(naiveOf(%s))", result: textType},
	"DateTime.to_date/1": {args: "T", code: "dateOf(toDateTime(%s))", result: dateType}, "NaiveDateTime.to_date/1": {args: "T", code: "dateOf(naiveOf(%s))", result: dateType},
	"DateTime.to_naive/1": {args: "T", code: "naiveOf(toDateTime(%s))", result: naiveType}, "DateTime.compare/2": {args: "TT", code: "order(micros(toDateTime(%s)), micros(toDateTime(%s)))", result: atomType},
	"NaiveDateTime.compare/2": {args: "TT", code: "order(micros(naiveOf(%s)), micros(naiveOf(%s)))", result: atomType}, "Date.compare/2": {args: "TT", code: "order(dateOf(%s), dateOf(%s))", result: atomType},
	"DateTime.diff/2": {args: "TT", code: "timeDiff(toDateTime(%s), toDateTime(%s))", result: integerType}, "NaiveDateTime.diff/2": {args: "TT", code: "timeDiff(naiveOf(%s), naiveOf(%s))", result: integerType},
	"Date.diff/2": {args: "TT", code: "dayDiff", result: integerType}, "Date.add/2": {args: "TI", code: "addDays", result: dateType},
	"Date.day_of_week/1": {args: "T", code: "dayOfWeek", result: integerType}, "DateTime.to_unix/1": {args: "T", code: "toUnix", result: integerType},
	"Date.from_iso8601!/1": {args: "S", code: "toDate", result: dateType}, "NaiveDateTime.from_iso8601!/1": {args: "S", code: "toNaive", result: naiveType},

	"Decimal.new/1": {args: "X", code: "decimal", result: decimalType}, "Decimal.to_string/1": {args: "D", code: "decimal", result: textType},
	"Decimal.to_float/1": {args: "D", code: "float(Number(decimal(%s)))", result: floatType}, "Decimal.compare/2": {args: "DD", code: "order(...scaled(%s, %s))", result: atomType},
	"Decimal.eq?/2": {args: "DD", code: "order(...scaled(%s, %s)) === \"eq\"", result: booleanType}, "Decimal.equal?/2": {args: "DD", code: "order(...scaled(%s, %s)) === \"eq\"", result: booleanType},
	"Decimal.gt?/2": {args: "DD", code: "order(...scaled(%s, %s)) === \"gt\"", result: booleanType}, "Decimal.lt?/2": {args: "DD", code: "order(...scaled(%s, %s)) === \"lt\"", result: booleanType},
	"Decimal.add/2": {args: "DD", code: "decimalSum(%s, %s, 1n)", result: decimalType}, "Decimal.sub/2": {args: "DD", code: "decimalSum(%s, %s, -1n)", result: decimalType},
	"Decimal.mult/2": {args: "DD", code: "decimalProduct", result: decimalType},

	"URI.encode/1":          {args: "S", code: "encodeURI(string(%s)).replace(/%%5B/g, \"[\").replace(/%%5D/g, \"]\")", result: textType},
	"URI.encode_www_form/1": {args: "S", code: "formEncode", result: textType}, "Base.encode64/1": {args: "S", code: "base64", result: textType},
	"Base.decode64!/1": {args: "S", code: "fromBase64", result: textType}, "Base.url_encode64/1": {args: "S", code: "base64(%s).replace(/\\+/g, \"-\").replace(/\\//g, \"_\")", result: textType},
	"Base.encode16/1": {args: "S", code: "hex(%s)", result: textType},
	"Regex.match?/2":  {args: "RS", code: "matches", result: booleanType}, "Regex.replace/3": {args: "RSS", code: "replace(%[2]s, %[1]s, %[3]s)", result: textType},
	"Regex.run/2": {args: "RS", code: "firstMatch", result: &typ{kinds: isNil | isList, elem: textType}}, "Regex.scan/2": {args: "RS", code: "allMatches", result: listOf(textsType)},
	"Regex.split/2":  {args: "RS", code: "split(%[2]s, %[1]s)", result: textsType},
	"JSON.decode!/1": {args: "S", code: "fromJSON", result: jsonType}, "Jason.decode!/1": {args: "S", code: "fromJSON", result: jsonType},
}

func keyType(m *typ) *typ {
	switch {
	case len(m.fields) > 0 && m.texts:
		return &typ{kinds: isAtom | isText}
	case len(m.fields) > 0:
		return atomType
	}
	return textType
}

func valueType(m *typ) *typ {
	out := m.elem
	for _, f := range m.fields {
		out = join(out, f)
	}
	if out == nil {
		return nilType
	}
	return out
}

// leaf is the type of what is inside of lists that are inside of lists.
func leaf(t *typ) *typ {
	for range maxDepth {
		if t == nil || !t.only(isList) {
			break
		}
		t = t.elem
	}
	return t
}
