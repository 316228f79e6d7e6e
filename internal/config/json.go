package config

import (
	"encoding/json"
	"strings"
)

// quoteJSON appends text as a JSON string.
func quoteJSON(dst []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil { // cannot happen for a string
		return append(dst, `""`...)
	}
	return append(dst, quoted...)
}

// isDecimal reports whether text is a whole number as JSON writes it.
func isDecimal(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || (digits[0] == '0' && len(digits) > 1) {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}
