package resource

import (
	"encoding/json"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// Secret is a text that must not be shown. Printing, logging and encoding it as JSON give a masked form; Reveal gives the text.
type Secret string

// Reveal returns the secret in clear.
func (s Secret) Reveal() string { return string(s) }

// String returns the masked form.
func (s Secret) String() string { return Mask(string(s)) }

// GoString returns the masked form, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue returns the masked form, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON encodes the masked form, so that a secret cannot slip into a reply. Whoever stores secrets seals them through Reveal.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Mask hides a secret so that its owner can still recognise it: up to 5 characters all stars, up to 9 the first and last one in clear, beyond
// that the first three and the last one with at most 20 stars between them.
func Mask(secret string) string {
	n := utf8.RuneCountInString(secret)
	if n <= 5 {
		return strings.Repeat("*", n)
	}
	r := []rune(secret)
	if n <= 9 {
		return string(r[0]) + strings.Repeat("*", n-2) + string(r[n-1])
	}
	return string(r[:3]) + strings.Repeat("*", min(n-4, 20)) + string(r[n-1])
}
