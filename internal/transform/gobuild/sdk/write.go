package sdk

import (
	"math"
	"sort"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep a result may be; a cycle goes deeper.
const maxDepth = 1000

func appendValue(dst []byte, v any) []byte { return appendDeep(dst, v, 0) }

// appendDeep appends the JSON of a value. It panics with a text if there is none.
func appendDeep(dst []byte, v any, depth int) []byte {
	if depth > maxDepth {
		panic("the result contains itself, or is more than 1000 levels deep")
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return appendString(dst, v)
	case *Object:
		return appendObject(dst, v, depth)
	case bool:
		return strconv.AppendBool(dst, v)
	case Number:
		if !isNumber(string(v)) {
			panic("the result has the Number " + short(string(v)) + ", which is none")
		}
		return append(dst, v...)
	case Raw:
		if len(v) == 0 {
			return append(dst, "null"...)
		}
		return append(dst, v...)
	case []any:
		return appendSlice(dst, v, depth)
	case map[string]any:
		return appendMap(dst, v, depth)
	case float64:
		return appendFloat(dst, v, 64)
	case float32:
		return appendFloat(dst, float64(v), 32)
	case time.Time:
		return v.AppendFormat(append(dst, '"'), `2006-01-02T15:04:05.999999999Z07:00"`)
	}
	return appendOther(dst, v, depth)
}

func appendOther(dst []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case int32:
		return strconv.AppendInt(dst, int64(v), 10)
	case int16:
		return strconv.AppendInt(dst, int64(v), 10)
	case int8:
		return strconv.AppendInt(dst, int64(v), 10)
	case uint:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint16:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint8:
		return strconv.AppendUint(dst, uint64(v), 10)
	case []string:
		return appendSlice(dst, v, depth)
	case []int:
		return appendSlice(dst, v, depth)
	case []int64:
		return appendSlice(dst, v, depth)
	case []float64:
		return appendSlice(dst, v, depth)
	case []bool:
		return appendSlice(dst, v, depth)
	case []*Object:
		return appendSlice(dst, v, depth)
	case []map[string]any:
		return appendSlice(dst, v, depth)
	case map[string]string:
		return appendMap(dst, v, depth)
	case map[string]int:
		return appendMap(dst, v, depth)
	case map[string]*Object:
		return appendMap(dst, v, depth)
	case interface{ MarshalJSON() ([]byte, error) }:
		b, err := v.MarshalJSON()
		if err != nil {
			panic("the result cannot be written as JSON: " + err.Error())
		}
		return append(dst, b...)
	case error:
		return appendString(dst, v.Error())
	}
	panic("the result has a value of a type that is not written as JSON by itself: give it a method MarshalJSON, or return Raw of json.Marshal")
}

func appendSlice[T any](dst []byte, values []T, depth int) []byte {
	if values == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendDeep(dst, v, depth+1)
	}
	return append(dst, ']')
}

// appendMap appends a map, its keys sorted.
func appendMap[T any](dst []byte, m map[string]T, depth int) []byte {
	if m == nil {
		return append(dst, "null"...)
	}
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	dst = append(dst, '{')
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, key), ':')
		dst = appendDeep(dst, m[key], depth+1)
	}
	return append(dst, '}')
}

func appendObject(dst []byte, o *Object, depth int) []byte {
	switch {
	case o == nil:
		return append(dst, "null"...)
	case o.raw != nil:
		return append(dst, o.raw...)
	}
	dst = append(dst, '{')
	for i := range o.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := &o.fields[i]
		dst = append(appendString(dst, f.key), ':')
		if f.raw != nil {
			dst = append(dst, f.raw...)
		} else {
			dst = appendDeep(dst, f.value, depth+1)
		}
	}
	return append(dst, '}')
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		panic("the result has the number " + strconv.FormatFloat(f, 'g', -1, 64) + ", which JSON cannot say")
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

const hexDigits = "0123456789abcdef"

// appendString appends a text as JSON.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), "�"...)
				from = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
