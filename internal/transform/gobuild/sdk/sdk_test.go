package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func parsed(text string) *Object { return object([]byte(text)) }

func TestObjectKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	const text = `{"z": 1.50, "a":[1,{"b":null}] ,"é":"\u00e9","n":123456789012345678901234567890}`
	o := parsed(text)
	require.Equal(t, []string{"z", "a", "é", "n"}, o.Keys())
	require.Equal(t, text, string(appendValue(nil, o)), "untouched, down to the spaces")
	require.Equal(t, Number("1.50"), o.Get("z"))
	require.Equal(t, "é", o.Get("é"))
	require.Equal(t, Number("123456789012345678901234567890"), o.Number("n"))
	require.Nil(t, o.Array("a")[1].(*Object).Get("b"))
	o.Set("z", 2).Set("new", []any{nil, true, "x\n\"\\\x01\xff"}).Delete("n", "missing")
	require.Equal(t, `{"z":2,"a":[1,{"b":null}],"é":"\u00e9","new":[null,true,"x\n\"\\\u0001�"]}`, string(appendValue(nil, o)))
}

func TestChangesWithinAreChangesOfTheWhole(t *testing.T) {
	t.Parallel()
	o := parsed(`{"a":{"b":{"c":1}},"l":[{"d":1}]}`)
	o.Object("a").Object("b").Set("c", 2)
	o.Array("l")[0].(*Object).Set("d", 3)
	kept := o.Copy()
	o.Object("a").Delete("b")
	require.Equal(t, `{"a":{},"l":[{"d":3}]}`, string(appendValue(nil, o)))
	require.Equal(t, `{"a":{"b":{"c":2}},"l":[{"d":3}]}`, string(appendValue(nil, kept)))
}

func TestNilObjectIsEmpty(t *testing.T) {
	t.Parallel()
	var o *Object
	require.Zero(t, o.Len())
	require.Empty(t, o.Keys())
	require.False(t, o.Has("a"))
	require.Nil(t, o.Get("a"))
	require.Nil(t, o.Raw("a"))
	require.Empty(t, o.String("a"))
	require.Zero(t, o.Int("a"))
	require.Nil(t, o.Object("a").Object("b").Array("c"))
	require.True(t, o.Time("a").IsZero())
	require.Equal(t, "null", string(appendValue(nil, o)))
	require.Equal(t, `{"a":1}`, string(appendValue(nil, o.Copy().Set("a", 1))))
}

func TestGetters(t *testing.T) {
	t.Parallel()
	o := parsed(`{"i":9007199254740993,"s":"199.99","b":true,"n":null,"t":"2025-07-01T10:11:12.345678Z","d":"2025-07-01","dup":1,"dup":2,"x":"abc","o":{}}`)
	require.Equal(t, int64(9007199254740993), o.Int("i"))
	require.InDelta(t, 199.99, o.Float("s"), 0)
	require.Equal(t, Number("199.99"), o.Number("s"))
	require.Equal(t, "9007199254740993", o.String("i"))
	require.Equal(t, "true", o.String("b"))
	require.True(t, o.Bool("b"))
	require.True(t, o.IsNull("n"))
	require.True(t, o.Has("n"))
	require.False(t, o.IsNull("missing"))
	require.Equal(t, time.Date(2025, 7, 1, 10, 11, 12, 345678000, time.UTC), o.Time("t"))
	require.Equal(t, time.Date(2025, 7, 1, 0, 0, 0, 0, time.UTC), o.Time("d"))
	require.Equal(t, int64(2), o.Int("dup"))
	require.Equal(t, Raw(`"199.99"`), o.Raw("s"))
	for want, f := range map[string]func(){
		`x is the text "abc", which is no number`:                         func() { o.Int("x") },
		`s is "199.99", which is no whole number of 64 bits`:              func() { o.Int("s") },
		`x is "abc", which is no time`:                                    func() { o.Time("x") },
		"o is no text, but an object":                                     func() { _ = o.String("o") },
		"x is no boolean, but a text":                                     func() { o.Bool("x") },
		"i is no object, but a number":                                    func() { o.Object("i") },
		"b is no array, but a boolean":                                    func() { o.Array("b") },
		"b is no number, but a boolean":                                   func() { o.Float("b") },
		`the result has the Number "1,5", which is none`:                  func() { appendValue(nil, Number("1,5")) },
		"the result has the number NaN, which JSON cannot say":            func() { appendValue(nil, math.NaN()) },
		"NewObject takes keys and values in turn; a key is a string":      func() { NewObject(1, 2) },
		"the result contains itself, or is more than 1000 levels deep":    func() { l := []any{nil}; l[0] = l; appendValue(nil, l) },
		"the result cannot be written as JSON: this one does not want to": func() { appendValue(nil, unwilling{}) },
	} {
		require.PanicsWithValue(t, want, f)
	}
}

type unwilling struct{}

func (unwilling) MarshalJSON() ([]byte, error) { return nil, errors.New("this one does not want to") }

func TestValues(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]any{
		`[1,-2,3,4,5,6,7,8,9,10]`:     []any{1, int64(-2), int32(3), int16(4), int8(5), uint(6), uint64(7), uint32(8), uint16(9), uint8(10)},
		`[0.1,1e+21,1e-07,0.1]`:       []any{0.1, 1e21, 1e-7, float32(0.1)},
		`{"a":{"c":"d"},"b":["x"]}`:   map[string]any{"b": []string{"x"}, "a": map[string]string{"c": "d"}},
		`[[1],[2],[0.5],[true],[]]`:   []any{[]int{1}, []int64{2}, []float64{0.5}, []bool{true}, []any{}},
		`[null,null,null,{"a":1}]`:    []any{[]string(nil), map[string]any(nil), Raw(nil), Raw(`{"a":1}`)},
		`"2025-07-01T10:11:12.5Z"`:    time.Date(2025, 7, 1, 10, 11, 12, 500_000_000, time.UTC),
		`[1.50,"oh no"]`:              []any{Number("1.50"), errors.New("oh no")},
		`{"a":1,"b":{"c":"x"}}`:       NewObject("a", 1, "b", NewObject("c", "x")),
		`[{"a":1},{"b":2}]`:           []*Object{NewObject("a", 1), NewObject("b", 2)},
		`{"rows":[{"a":1}],"z":{}}`:   map[string]any{"rows": []map[string]any{{"a": 1}}, "z": map[string]*Object{}},
		`{"n":{"a":1},"o":{"b":"x"}}`: map[string]any{"n": map[string]int{"a": 1}, "o": json.RawMessage(`{"b":"x"}`)},
	} {
		require.Equal(t, want, string(appendValue(nil, v)))
	}
}

func TestTheIndexTellsWhatTheScannerFinds(t *testing.T) {
	t.Parallel()
	b := []byte(` { "record" : {"a":1,"q\"":"x","a":{"b":[2]}}, "changes":null,"other":{"x":1},"metadata":{ },"action":"in\u0073ert"}`)
	room := make([]uint32, 64)
	n := Index(b, room)
	require.Equal(t, wordEntry+3*entryWords, n)
	m, ok := indexed(b, room[:n])
	require.True(t, ok)
	require.Equal(t, "insert", m.action)
	require.Nil(t, m.changes)
	require.Equal(t, `{"b":[2]}`, string(m.record.Raw("a")), "the last one counts")
	require.Equal(t, "x", m.record.String(`q"`))
	require.False(t, m.record.Has("b"))
	require.Zero(t, m.metadata.Len())
	m.record.Set("a", 3)
	require.Equal(t, `{"a":1,"q\"":"x","a":3}`, string(appendValue(nil, m.record)))
	for _, room := range [][]uint32{nil, make([]uint32, 1), make([]uint32, wordEntry), make([]uint32, wordEntry+2*entryWords)} {
		require.LessOrEqual(t, Index(b, room), 1, "no room")
		if len(room) > 0 {
			_, ok := indexed(b, room)
			require.False(t, ok)
		}
	}
}

// As the file that is written for a module does it. Not beside other tests: there is one caller.
func TestPreparedForOneCaller(t *testing.T) {
	prepare("nowhere.go")
	defer func() { pool.on, sourceFile = false, "" }()
	require.NotNil(t, indexRoom())
	require.NotNil(t, inputRoom(0))
	require.Len(t, input, 1)
	require.EqualValues(t, len(words), words[0])
	for range 2 * len(pool.objects) { // from what lies ready, then from the heap
		o := parsed(`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"n":14,"o":15,"p":16,"q":17}`)
		require.Equal(t, int64(17), o.Set("q", 17).Int("q"))
		require.Equal(t, 17, o.Len())
	}
	words[0] = 0
}

func TestCallTellsWhatWentWrong(t *testing.T) {
	t.Parallel()
	b := []byte(`{"record":{"a":1},"action":"insert"}`)
	for want, f := range map[string]func(m *message) (any, error){
		"1":                       func(m *message) (any, error) { return m.record.Get("a"), nil },
		`{"message":"no"}`:        func(*message) (any, error) { return nil, errors.New("no") },
		`{"message":"panic: 42"}`: func(*message) (any, error) { panic(42) },
	} {
		call(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)), f) // what it returns, addresses here are too large for
		require.Equal(t, want, string(output))
	}
}

// Whatever is JSON reads like encoding/json reads it, and nothing that is none leads out of the bytes.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[{"c":"\ud83d\ude00"}]}`, `{"record":{"a\"":1},"action":"x"}`, `{"a":"\`, `{"a`, `{"a":}`, `{,}`, ``, `{"":"","":[[]]}`, `{"a":"\u12"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		room := make([]uint32, 256)
		if n := Index(b, room); n > 1 {
			m, ok := indexed(b, room[:n])
			require.True(t, ok)
			_ = m.record.Keys()
		}
		o := &Object{raw: b}
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case *Object:
				for _, key := range v.Keys() {
					walk(v.Get(key))
				}
			case []any:
				for _, e := range v {
					walk(e)
				}
			}
		}
		valid := json.Valid(b) && bytes.HasPrefix(bytes.TrimSpace(b), []byte("{"))
		if bytes.Count(b, []byte("[")) > 500 { // deeper than calls go
			return
		}
		walk(o)
		if !valid {
			return
		}
		o.scan()
		o.raw = nil
		var want, got any
		require.NoError(t, json.Unmarshal(b, &want))
		written := appendValue(nil, o)
		require.NoError(t, json.Unmarshal(written, &got), "%s", written)
		require.Equal(t, want, got)
	})
}
