package config

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/resource"
)

// annotations reads an object of anything. None at all and an empty one are the same.
func (f *fields) annotations(dst *json.RawMessage) {
	const key = "annotations"
	f.ask(key, &shape{kind: shapeMap, item: &shape{kind: shapeValue}})
	n, ok := f.find(key)
	if !ok {
		if n != nil {
			*dst = nil
		}
		return
	}
	if n.kind != mapping {
		f.mistake(key, n, resource.CodeInvalid, "is %s; expected a mapping", n.describe())
		return
	}
	if *dst = nil; len(n.entries) > 0 {
		const limit = 64 << 10 // beyond the validation's own limit, which names the size
		*dst = f.json(key, n, nil, limit)
	}
}

// json renders a node as JSON, as far as limit.
func (f *fields) json(key string, n *node, dst []byte, limit int) []byte {
	if len(dst) > limit {
		return dst
	}
	switch n.kind {
	case null:
		return append(dst, "null"...)
	case mapping:
		dst = append(dst, '{')
		for i := range n.entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(quoteJSON(dst, n.entries[i].key), ':')
			dst = f.json(key, n.entries[i].value, dst, limit)
		}
		return append(dst, '}')
	case sequence:
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = f.json(key, item, dst, limit)
		}
		return append(dst, ']')
	default:
		return f.jsonScalar(key, n, dst)
	}
}

// jsonScalar keeps every digit of a number that JSON can write as it stands.
func (f *fields) jsonScalar(key string, n *node, dst []byte) []byte {
	tag, number, _ := strings.Cut(n.tag, " ")
	switch tag {
	case "!!int":
		if number != "" {
			return append(dst, number...)
		}
		if isDecimal(n.text) {
			return append(dst, n.text...)
		}
	case "!!bool":
		if v, ok := parseBool(n.text); ok {
			return strconv.AppendBool(dst, v)
		}
	case "!!float":
		v, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			f.mistake(key, n, resource.CodeInvalid, "holds %s, which JSON cannot express", n.text)
			return append(dst, "null"...)
		}
		if json.Valid([]byte(n.text)) {
			return append(dst, n.text...)
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case "!!binary":
		if _, err := base64.StdEncoding.DecodeString(n.text); err != nil {
			f.mistake(key, n, resource.CodeInvalid, "holds !!binary that is not base64")
		}
	}
	return quoteJSON(dst, n.text)
}
