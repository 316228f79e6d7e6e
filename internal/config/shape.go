package config

import "slices"

// shape is what may stand in one place of a document: the answer to the question that the decoder asks there. Schema is made of the shapes of
// all questions, so it cannot say anything else than the decoder does.
type shape struct {
	kind     shapeKind
	words    []string   // shapeWord
	item     *shape     // shapeList, shapeMap
	keys     []question // shapeObject
	either   []*shape   // shapeEither
	def      any        // the default; nil when there is none
	required bool
}

// question is one key that the decoder asks for.
type question struct {
	key   string
	shape *shape
}

type shapeKind int

const (
	shapeText shapeKind = iota
	shapeInteger
	shapeBoolean
	shapeWord // one of a few words
	shapeDuration
	shapeSize
	shapeSecret
	shapeValue    // anything
	shapeList     // of items
	shapeMap      // of items, by any key
	shapeObject   // known keys
	shapeEither   // one of several shapes
	shapeOperator // of a column filter
	shapeMasked   // what old exports write in place of headers
	shapeNull     // nothing
	shapeIgnored  // accepted and not looked at
	shapeRetired  // accepted with a warning
	shapeOff      // only words that turn the feature off
)

// String says what is expected, in a sentence.
func (k shapeKind) String() string {
	switch k {
	case shapeInteger:
		return "a whole number"
	case shapeBoolean:
		return "true or false"
	case shapeDuration:
		return "a duration"
	case shapeSize:
		return "a size"
	default:
		return "a text"
	}
}

// ask notes a question while the decoder describes itself. What is asked again is noted once.
func (f *fields) ask(key string, s *shape) {
	if f.shape == nil {
		return
	}
	if !slices.ContainsFunc(f.shape.keys, func(q question) bool { return q.key == key }) {
		f.shape.keys = append(f.shape.keys, question{key, s})
	}
}

// unasked notes keys that were looked for and about which nothing was asked: Schema would lack them.
func (f *fields) unasked() {
	for _, key := range f.known {
		if !slices.ContainsFunc(f.shape.keys, func(q question) bool { return q.key == key }) {
			f.d.unasked = append(f.d.unasked, f.at(key))
		}
	}
}

// describing reports whether the decoder describes itself. Branches that depend on values are then all taken.
func (f *fields) describing() bool { return f.shape != nil }
