package pgvalue

import "strings"

// equal compares as jsonb does: numbers by value.
func (v *JSON) equal(w *JSON) bool {
	if v.Kind != w.Kind {
		return false
	}
	switch v.Kind {
	case '#':
		return CompareNumeric(v.Number, w.Number) == 0
	case '"':
		return v.Text == w.Text
	}
	if len(v.Items) != len(w.Items) {
		return false
	}
	for i := range v.Items {
		if v.Kind == '{' && v.Keys[i] != w.Keys[i] || !v.Items[i].equal(w.Items[i]) {
			return false
		}
	}
	return true
}

// EqualJSONB compares two jsonb values.
func EqualJSONB(a, b Value) bool {
	if a.S == b.S {
		return true
	}
	v, errV := ParseJSON(a.S, true)
	w, errW := ParseJSON(b.S, true)
	return errV == nil && errW == nil && v.equal(w)
}

// Contains is @>.
func (v *JSON) Contains(w *JSON) bool {
	if v.Kind != w.Kind {
		// An array may contain a bare scalar, at the top alone.
		return v.Kind == '[' && w.Kind != '{' && contains(v, &JSON{Kind: '[', Items: []*JSON{w}})
	}
	return contains(v, w)
}

func contains(v, w *JSON) bool {
	if v.Kind != w.Kind {
		return false
	}
	switch v.Kind {
	case '{':
		for i, key := range w.Keys {
			have := v.Field(key)
			if have == nil || !contains(have, w.Items[i]) {
				return false
			}
		}
		return true
	case '[':
		for _, want := range w.Items {
			found := false
			for _, have := range v.Items {
				if contains(have, want) {
					found = true
					break
				}
			}
			if !found {
				return false
			}
		}
		return true
	}
	return v.equal(w)
}

// jsonRank orders the kinds: Object > Array > Boolean > Number > String > Null, as the manual says.
func jsonRank(kind byte) int64 {
	switch kind {
	case '"':
		return 1
	case '#':
		return 2
	case 'f', 't':
		return 3
	case '[':
		return 4
	case '{':
		return 5
	}
	return 0
}

// CompareJSONB is the order of jsonb, with texts by bytes.
func CompareJSONB(a, b Value) int {
	if a.S == b.S {
		return 0
	}
	v, errV := ParseJSON(a.S, true)
	w, errW := ParseJSON(b.S, true)
	if errV != nil || errW != nil {
		return strings.Compare(a.S, b.S)
	}
	return v.compare(w)
}

func (v *JSON) compare(w *JSON) int {
	if c := compareInt(jsonRank(v.Kind), jsonRank(w.Kind)); c != 0 {
		return c
	}
	switch v.Kind {
	case 't', 'f':
		return strings.Compare(string(v.Kind), string(w.Kind))
	case '#':
		return CompareNumeric(v.Number, w.Number)
	case '"':
		return strings.Compare(v.Text, w.Text)
	}
	if c := compareInt(int64(len(v.Items)), int64(len(w.Items))); c != 0 {
		return c
	}
	for i := range v.Items {
		if v.Kind == '{' && v.Keys[i] != w.Keys[i] {
			return strings.Compare(v.Keys[i], w.Keys[i])
		}
		if c := v.Items[i].compare(w.Items[i]); c != 0 {
			return c
		}
	}
	return 0
}
