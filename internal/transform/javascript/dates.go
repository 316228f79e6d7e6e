package javascript

import (
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// layouts are the forms in which a date becomes text. There is one locale.
var layouts = map[string]string{
	"full":       "Mon Jan 02 2006 15:04:05 GMT-0700 (UTC)",
	"date":       "Mon Jan 02 2006",
	"time":       "15:04:05 GMT-0700 (UTC)",
	"localeFull": "1/2/2006, 3:04:05 PM",
	"localeDate": "1/2/2006",
	"localeTime": "3:04:05 PM",
}

// dateText is a number of milliseconds since 1970 as text.
func (g *guard) dateText(call goja.FunctionCall) goja.Value {
	at := call.Argument(0).ToFloat()
	if math.IsNaN(at) {
		return g.vm.ToValue("Invalid Date")
	}
	return g.vm.ToValue(time.UnixMilli(int64(at)).UTC().Format(layouts[call.Argument(1).String()]))
}

var (
	zoned    = regexp.MustCompile(`(?i)(?:Z|[+-]\d\d:?\d\d|GMT|UTC?|[ECMP][SD]T)(?:\s*\(.*\))?\s*$`)
	hourOnly = regexp.MustCompile(`:\d\d(?:\.\d+)?\s*[+-]\d\d\s*$`) // as Postgres writes zones
	dateOnly = regexp.MustCompile(`^\s*(?:\d{4}|[+-]\d{6})(?:-\d\d(?:-\d\d)?)?\s*$`)
)

// dateParse reads a text as Date.parse does; goja takes one without a zone for the time of the process.
func (g *guard) dateParse(call goja.FunctionCall) goja.Value {
	text := g.string(call.Argument(0))
	if text == nil {
		return goja.NaN()
	}
	s := text.String()
	if hourOnly.MatchString(s) {
		s = strings.TrimSpace(s) + ":00"
		text = g.vm.ToValue(s)
	}
	if zoned.MatchString(s) || dateOnly.MatchString(s) {
		return must(g.parse(goja.Undefined(), text))
	}
	for _, zone := range [...]string{"Z", " GMT", " 00:00:00 GMT"} {
		if at := must(g.parse(goja.Undefined(), g.vm.ToValue(s+zone))); !goja.IsNaN(at) {
			return at
		}
	}
	return goja.NaN()
}

// dateArguments takes the arguments of new Date: the parts of a date, and texts, are UTC.
func (g *guard) dateArguments(call goja.FunctionCall) goja.Value {
	list := call.Argument(0).ToObject(g.vm)
	n := int(length(list))
	switch first := list.Get("0"); {
	case n > 1:
		parts := make([]goja.Value, n)
		for i := range parts {
			parts[i] = list.Get(index(i))
		}
		return g.vm.NewArray(must(g.utc(goja.Undefined(), parts...)))
	case n == 1 && goja.IsString(first):
		return g.vm.NewArray(g.dateParse(goja.FunctionCall{Arguments: []goja.Value{first}}))
	}
	return list
}
