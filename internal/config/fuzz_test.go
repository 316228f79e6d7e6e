package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

// Whatever the bytes are, reading ends with a valid set or with mistakes that have a place.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _, err := config.Parse("fuzz", data, testEnv)
		if err == nil {
			if left := set.Validate(); len(left) > 0 {
				t.Fatalf("accepted, but %v", left)
			}
			return
		}
		var invalid *resource.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Mistakes) == 0 {
			t.Fatalf("no mistakes in %v", err)
		}
		for _, m := range invalid.Mistakes {
			if m.Line < 1 || m.What == "" {
				t.Fatalf("a mistake without place or text: %+v", m)
			}
		}
	})
}

// places fails when an error is no list of mistakes that each have a place, a code and a text.
func places(t *testing.T, err error) {
	t.Helper()
	invalid, ok := errors.AsType[*resource.InvalidError](err)
	if !ok || len(invalid.Mistakes) == 0 {
		t.Fatalf("no mistakes in %v", err)
	}
	for _, m := range invalid.Mistakes {
		if m.Line < 1 || m.Column < 1 || m.What == "" || m.Code == "" {
			t.Fatalf("a mistake without place, code or text: %+v", m)
		}
	}
}

// A document over what is stored ends with something valid that reads back from its own export, or with mistakes; what is stored stays.
func FuzzParseDocument(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	for seed := range uint64(8) {
		text, err := config.Export(newGenerator(seed).set(), seed%2 == 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("sinks: [{name: orders, source: {}, tables: [], destination: {batch: true}}]\ndatabases: [{name: prod, ssl: false}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		base := storedSet()
		doc, _, err := config.ParseDocument("fuzz", data, config.DocumentOptions{Base: base})
		same(t, storedSet(), base, "what is stored")
		if err != nil {
			places(t, err)
			return
		}
		if left := doc.Set.ValidateOver(base); len(left) > 0 {
			t.Fatalf("accepted, but %v", left)
		}
		text, err := config.Export(doc.Set, true)
		if err != nil {
			t.Fatal(err)
		}
		whole := *base
		over(&whole, doc.Set)
		again, _, err := config.ParseDocument("export", text, config.DocumentOptions{Base: &whole})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		want := *doc.Set
		want.Account, want.Users, want.APITokens = again.Set.Account, nil, nil
		same(t, &want, again.Set, string(text))
	})
}

// over puts what a document declares over a set.
func over(set, doc *resource.Set) {
	set.Databases = append(append([]resource.Database{}, doc.Databases...), set.Databases...)
	set.ChangeRetentions = append(append([]resource.ChangeRetention{}, doc.ChangeRetentions...), set.ChangeRetentions...)
	set.HTTPEndpoints = append(append([]resource.HTTPEndpoint{}, doc.HTTPEndpoints...), set.HTTPEndpoints...)
	set.Functions = append(append([]resource.Function{}, doc.Functions...), set.Functions...)
	set.Sinks = append(append([]resource.Sink{}, doc.Sinks...), set.Sinks...)
}

// A body ends with something valid, the same again when it is sent again and when it is sent back as shown, or with mistakes and no change.
func FuzzUpdate(f *testing.F) {
	o := config.FormOptions{API: true}
	for seed := range uint64(8) {
		set := newGenerator(seed).set()
		for i := range set.Databases {
			f.Add(byte(0), config.FormDatabase(&set.Databases[i], o))
		}
		for i := range set.ChangeRetentions {
			f.Add(byte(1), config.FormChangeRetention(&set.ChangeRetentions[i], o))
		}
		for i := range set.HTTPEndpoints {
			f.Add(byte(2), config.FormEndpoint(&set.HTTPEndpoints[i], o))
		}
		for i := range set.Functions {
			f.Add(byte(3), config.FormFunction(&set.Functions[i], o))
		}
		for i := range set.Sinks {
			f.Add(byte(4), config.FormSink(&set.Sinks[i], o))
		}
	}
	f.Add(byte(0), []byte(`{"url":"postgres://u:p@h/d?sslmode=require","ssl":true,"replication_slots":[]}`))
	f.Add(byte(4), []byte(`{"table":"x","max_deliver":3,"source":null}`))
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		stored := storedSet()
		switch kind % 5 {
		case 0:
			updated(t, stored.Databases[0], body, config.UpdateDatabase, config.FormDatabase, (*resource.Database).Validate)
		case 1:
			updated(t, stored.ChangeRetentions[0], body, config.UpdateChangeRetention, config.FormChangeRetention, (*resource.ChangeRetention).Validate)
		case 2:
			updated(t, stored.HTTPEndpoints[0], body, config.UpdateEndpoint, config.FormEndpoint, (*resource.HTTPEndpoint).Validate)
		case 3:
			updated(t, stored.Functions[0], body, config.UpdateFunction, config.FormFunction, (*resource.Function).Validate)
		default:
			updated(t, stored.Sinks[0], body, config.UpdateSink, config.FormSink, (*resource.Sink).Validate)
		}
	})
}

func updated[T any](
	t *testing.T, base T, body []byte, update func(*T, []byte, config.BodyOptions) ([]config.Warning, error),
	form func(*T, config.FormOptions) []byte, validate func(*T, string) []resource.Mistake,
) {
	t.Helper()
	for _, o := range []config.BodyOptions{{}, {IgnoreUnknown: true}, {Create: true}} {
		got := base
		if _, err := update(&got, body, o); err != nil {
			places(t, err)
			same(t, base, got, "a mistake changes nothing")
			continue
		}
		if left := validate(&got, ""); len(left) > 0 {
			t.Fatalf("accepted, but %v", left)
		}
		again := got
		if _, err := update(&again, form(&got, config.FormOptions{API: true}), config.BodyOptions{}); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		same(t, got, again, string(body))
	}
}
