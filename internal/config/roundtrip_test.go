package config_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

const rounds = 150

// clear compares secrets by their text; require would print masks and call them the same.
var inClear = cmp.Comparer(func(a, b resource.Secret) bool { return a.Reveal() == b.Reveal() })

func same(t *testing.T, want, got any, about string) {
	t.Helper()
	if diff := cmp.Diff(want, got, inClear); diff != "" {
		t.Fatalf("differs (-want +got):\n%s\n%s", diff, about)
	}
}

// What is exported with secrets reads back as what it was: straight, with variables filled in as the command line does, and over what is stored.
func TestExportReadsBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		set := newGenerator(seed).set()
		require.Empty(t, set.Validate(), "seed %d", seed)
		text, err := config.Export(set, true)
		require.NoError(t, err)
		for name, o := range map[string]config.DocumentOptions{
			"straight": {Local: true}, "variables": {Local: true, Lookup: noVariables}, "over itself": {Base: set},
		} {
			doc, _, err := config.ParseDocument("export.yaml", text, o)
			require.NoError(t, err, "seed %d, %s\n%s", seed, name, text)
			want := set
			if o.Base == nil {
				want = bare(set)
			}
			same(t, want, doc.Set, name+"\n"+string(text))
		}
	}
}

// An export without secrets changes nothing either where the secrets are, and never shows one.
func TestMaskedExportChangesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		set := newGenerator(seed).set()
		for i := range set.Databases {
			set.Databases[i].Password = "hunter2-$hunter2"
		}
		text, err := config.Export(set, false)
		require.NoError(t, err)
		require.NotContains(t, string(text), "hunter2")
		doc, _, err := config.ParseDocument("export.yaml", text, config.DocumentOptions{Base: set})
		require.NoError(t, err, "seed %d\n%s", seed, text)
		same(t, set, doc.Set, string(text))
	}
}

// What a client is shown and sends back changes nothing, secrets masked or not.
func TestSentBackAsShown(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		set := newGenerator(seed).set()
		for _, clear := range []bool{true, false} {
			o := config.FormOptions{API: true, Clear: clear}
			for _, d := range set.Databases {
				sentBack(t, d, config.FormDatabase(&d, o), config.UpdateDatabase)
			}
			for _, r := range set.ChangeRetentions {
				sentBack(t, r, config.FormChangeRetention(&r, o), config.UpdateChangeRetention)
			}
			for _, e := range set.HTTPEndpoints {
				sentBack(t, e, config.FormEndpoint(&e, o), config.UpdateEndpoint)
			}
			for _, f := range set.Functions {
				sentBack(t, f, config.FormFunction(&f, o), config.UpdateFunction)
			}
			for _, s := range set.Sinks {
				sentBack(t, s, config.FormSink(&s, o), config.UpdateSink)
			}
		}
	}
}

func sentBack[T any](t *testing.T, x T, body []byte, update func(*T, []byte, config.BodyOptions) ([]config.Warning, error)) {
	t.Helper()
	y := x
	_, err := update(&y, body, config.BodyOptions{})
	require.NoError(t, err, "%s", body)
	same(t, x, y, string(body))
	require.True(t, json.Valid(body))
}

// What is shown in clear creates the same thing anew.
func TestCreatedAsShown(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		set := newGenerator(seed).set()
		o := config.FormOptions{API: true, Clear: true}
		for _, d := range set.Databases {
			created(t, d, resource.Database{Meta: d.Meta}, config.FormDatabase(&d, o), config.UpdateDatabase)
		}
		for _, r := range set.ChangeRetentions {
			created(t, r, resource.ChangeRetention{Meta: r.Meta}, config.FormChangeRetention(&r, o), config.UpdateChangeRetention)
		}
		for _, e := range set.HTTPEndpoints {
			created(t, e, resource.HTTPEndpoint{Meta: e.Meta}, config.FormEndpoint(&e, o), config.UpdateEndpoint)
		}
		for _, f := range set.Functions {
			created(t, f, resource.Function{Meta: f.Meta}, config.FormFunction(&f, o), config.UpdateFunction)
		}
		for _, s := range set.Sinks {
			created(t, s, resource.Sink{Meta: s.Meta}, config.FormSink(&s, o), config.UpdateSink)
		}
	}
}

func created[T any](t *testing.T, want, base T, body []byte, update func(*T, []byte, config.BodyOptions) ([]config.Warning, error)) {
	t.Helper()
	_, err := update(&base, body, config.BodyOptions{Create: true, Local: true})
	require.NoError(t, err, "%s", body)
	same(t, want, base, string(body))
}

// What is stored reads back as what it was.
func TestStoredReadsBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(rounds) {
		set := newGenerator(seed).set()
		plain := bare(set)
		for i := range set.Databases {
			stored(t, config.KindDatabase, set.Databases[i], plain.Databases[i], config.DecodeDatabase)
		}
		for i := range set.ChangeRetentions {
			stored(t, config.KindChangeRetention, set.ChangeRetentions[i], plain.ChangeRetentions[i], config.DecodeChangeRetention)
		}
		for i := range set.HTTPEndpoints {
			stored(t, config.KindHTTPEndpoint, set.HTTPEndpoints[i], plain.HTTPEndpoints[i], config.DecodeEndpoint)
		}
		for i := range set.Functions {
			stored(t, config.KindFunction, set.Functions[i], plain.Functions[i], config.DecodeFunction)
		}
		for i := range set.Sinks {
			stored(t, config.KindSink, set.Sinks[i], plain.Sinks[i], config.DecodeSink)
		}
	}
}

func stored[T any](t *testing.T, kind string, x, want T, decode func([]byte) (T, error)) {
	t.Helper()
	data, err := config.Encode(kind, &x)
	require.NoError(t, err)
	again, err := config.Encode(kind, x)
	require.NoError(t, err)
	require.Equal(t, data, again)
	got, err := decode(data)
	require.NoError(t, err)
	same(t, want, got, string(data))
}

// Every field of every resource survives storage: a new one that is forgotten in Encode fails here. It must survive the document too.
func TestNoFieldIsForgotten(t *testing.T) {
	t.Parallel()
	everyField(t, config.KindDatabase, resource.NewDatabase(), config.DecodeDatabase)
	everyField(t, config.KindChangeRetention, resource.ChangeRetention{}, config.DecodeChangeRetention)
	everyField(t, config.KindHTTPEndpoint, resource.HTTPEndpoint{}, config.DecodeEndpoint)
	everyField(t, config.KindFunction, resource.Function{}, config.DecodeFunction)
	everyField(t, config.KindSink, resource.NewSink(), config.DecodeSink)
}

// everyField changes one field at a time.
func everyField[T any](t *testing.T, kind string, x T, decode func([]byte) (T, error)) {
	t.Helper()
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if name := v.Type().Field(i).Name; name != "Meta" {
					walk(v.Field(i), path+"."+name)
				}
			}
			return
		case reflect.Slice:
			if v.Type() == reflect.TypeFor[json.RawMessage]() {
				v.Set(reflect.ValueOf(json.RawMessage(`{"a":1}`)))
				break
			}
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			walk(v.Index(0), path+"[0]")
		case reflect.Map:
			m := reflect.MakeMap(v.Type())
			m.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v").Convert(v.Type().Elem()))
			v.Set(m)
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		default:
			t.Fatalf("%s is a %s, which this test does not know", path, v.Kind())
		}
		data, err := config.Encode(kind, x)
		require.NoError(t, err)
		got, err := decode(data)
		require.NoError(t, err)
		same(t, x, got, path)
	}
	walk(reflect.ValueOf(&x).Elem(), strings.ToLower(kind))
}
