package resource

import (
	"maps"
	"slices"
)

// Clone returns a deep copy.
func (s *Set) Clone() *Set {
	c := *s
	c.Users = slices.Clone(s.Users)
	c.APITokens = slices.Clone(s.APITokens)
	for i := range c.APITokens {
		c.APITokens[i].Scopes = slices.Clone(c.APITokens[i].Scopes)
	}
	c.Databases = cloned(s.Databases, (*Database).Clone)
	c.ChangeRetentions = cloned(s.ChangeRetentions, (*ChangeRetention).Clone)
	c.HTTPEndpoints = cloned(s.HTTPEndpoints, (*HTTPEndpoint).Clone)
	c.Functions = slices.Clone(s.Functions)
	c.Sinks = cloned(s.Sinks, (*Sink).Clone)
	return &c
}

func cloned[T any](all []T, clone func(*T) T) []T {
	if all == nil {
		return nil
	}
	out := make([]T, len(all))
	for i := range all {
		out[i] = clone(&all[i])
	}
	return out
}

// Clone returns a deep copy.
func (d *Database) Clone() Database {
	c := *d
	c.Annotations = slices.Clone(d.Annotations)
	return c
}

// Clone returns a deep copy.
func (r *ChangeRetention) Clone() ChangeRetention {
	c := *r
	c.Actions = slices.Clone(r.Actions)
	c.Filters = slices.Clone(r.Filters)
	for i := range c.Filters {
		c.Filters[i].Value = slices.Clone(c.Filters[i].Value)
	}
	return c
}

// Clone returns a deep copy.
func (e *HTTPEndpoint) Clone() HTTPEndpoint {
	c := *e
	c.Headers = maps.Clone(e.Headers)
	c.EncryptedHeaders = maps.Clone(e.EncryptedHeaders)
	c.SigningSecrets = slices.Clone(e.SigningSecrets)
	return c
}

// Clone returns a deep copy.
func (s *Sink) Clone() Sink {
	c := *s
	c.Source = Source{
		IncludeSchemas: slices.Clone(s.Source.IncludeSchemas), ExcludeSchemas: slices.Clone(s.Source.ExcludeSchemas),
		IncludeTables: slices.Clone(s.Source.IncludeTables), ExcludeTables: slices.Clone(s.Source.ExcludeTables),
	}
	c.Tables = slices.Clone(s.Tables)
	for i := range c.Tables {
		c.Tables[i].GroupColumns = slices.Clone(c.Tables[i].GroupColumns)
	}
	c.Actions = slices.Clone(s.Actions)
	c.InitialBackfill.Tables = slices.Clone(s.InitialBackfill.Tables)
	c.Routes = slices.Clone(s.Routes)
	for i := range c.Routes {
		c.Routes[i].To = slices.Clone(c.Routes[i].To)
	}
	c.Annotations = slices.Clone(s.Annotations)
	return c
}
