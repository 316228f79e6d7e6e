package message

import "github.com/sequinstream/sequin/internal/cdc"

// AppendValue appends a value as JSON, given its Postgres text. It never fails: text that does not read as its type becomes a JSON string.
func AppendValue(dst []byte, t *cdc.Type, text []byte, f Format) []byte {
	if t == nil {
		return appendString(dst, text)
	}
	start := len(dst)
	ok := false
	switch t.Kind {
	case cdc.KindText, cdc.KindNumeric, cdc.KindDate:
	case cdc.KindBool:
		dst, ok = appendBool(dst, text)
	case cdc.KindInt:
		dst, ok = appendInt(dst, text)
	case cdc.KindFloat:
		dst, ok = appendFloat(dst, text)
	case cdc.KindJSON:
		if !f.documentsAsText || t.Name == "jsonb" {
			dst, ok = appendJSON(dst, text)
		}
	case cdc.KindTimestamp:
		dst, ok = appendTimestamp(dst, text, f)
	case cdc.KindTimestampTZ:
		dst, ok = appendTimestampTZ(dst, text, f)
	case cdc.KindInterval:
		dst, ok = appendInterval(dst, text)
	case cdc.KindVector:
		dst, ok = appendVector(dst, text)
	case cdc.KindArray:
		dst, ok = appendArray(dst, t, text, f)
	}
	if ok {
		return dst
	}
	return appendString(dst[:start], text)
}

func appendBool(dst, text []byte) ([]byte, bool) {
	if len(text) != 1 {
		return dst, false
	}
	switch text[0] {
	case 't':
		return append(dst, "true"...), true
	case 'f':
		return append(dst, "false"...), true
	}
	return dst, false
}
