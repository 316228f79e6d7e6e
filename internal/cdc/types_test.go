package cdc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
)

var (
	textType = cdc.Type{Name: "text"}
	int4Type = cdc.Type{Kind: cdc.KindInt, Name: "int4"}
)

func TestBuiltinType(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		oid  uint32
		want cdc.Type
	}{
		"int8":           {20, cdc.Type{Kind: cdc.KindInt, Name: "int8"}},
		"oid":            {26, cdc.Type{Kind: cdc.KindInt, Name: "oid"}},
		"float4":         {700, cdc.Type{Kind: cdc.KindFloat, Name: "float4"}},
		"numeric":        {1700, cdc.Type{Kind: cdc.KindNumeric, Name: "numeric"}},
		"jsonb":          {3802, cdc.Type{Kind: cdc.KindJSON, Name: "jsonb"}},
		"interval":       {1186, cdc.Type{Kind: cdc.KindInterval, Name: "interval"}},
		"timetz":         {1266, cdc.Type{Name: "timetz"}},
		"an array":       {1009, cdc.Type{Kind: cdc.KindArray, Name: "_text", Delim: ',', Elem: &textType}},
		"box[]":          {1020, cdc.Type{Kind: cdc.KindArray, Name: "_box", Delim: ';', Elem: &cdc.Type{Name: "box"}}},
		"int2vector":     {22, cdc.Type{Name: "int2vector"}},
		"int2vector[]":   {1006, cdc.Type{Kind: cdc.KindArray, Name: "_int2vector", Delim: ',', Elem: &cdc.Type{Name: "int2vector"}}},
		"int4multirange": {4451, cdc.Type{Name: "int4multirange"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := cdc.BuiltinType(tc.oid)
			require.True(t, ok)
			require.Empty(t, cmp.Diff(tc.want, got))
		})
	}
	for _, oid := range []uint32{0, 1, 2249, 16384} {
		_, ok := cdc.BuiltinType(oid)
		require.False(t, ok, oid)
	}
}

func TestTypeFor(t *testing.T) {
	t.Parallel()
	catalog := map[uint32]cdc.CatalogType{
		20001: {Name: "mood", Type: 'e', Category: 'E', Delim: ','},
		20002: {Name: "_mood", Type: 'b', Category: 'A', Elem: 20001, Delim: ','},
		20003: {Name: "positive", Type: 'd', Category: 'N', Base: 23, Delim: ','},
		20004: {Name: "small", Type: 'd', Category: 'N', Base: 20003, Delim: ','},
		20005: {Name: "_small", Type: 'b', Category: 'A', Elem: 20004, Delim: ','},
		20006: {Name: "path_of", Type: 'd', Category: 'A', Base: 1007, Elem: 23, Delim: ','}, // before 14 a domain had its base's element
		20007: {Name: "_path_of", Type: 'b', Category: 'A', Elem: 20006, Delim: ','},
		20008: {Name: "vector", Type: 'b', Category: 'U', Delim: ','},
		20009: {Name: "_vector", Type: 'b', Category: 'A', Elem: 20008, Delim: ','},
		20010: {Name: "area", Type: 'd', Category: 'G', Base: 603, Delim: ';'},
		20011: {Name: "_area", Type: 'b', Category: 'A', Elem: 20010, Delim: ';'},
		20012: {Name: "_odd", Type: 'e', Category: 'E'},
		20013: {Name: "vector", Type: 'e', Category: 'E'},
		20014: {Name: "pair", Type: 'c', Category: 'C', Delim: ','},
		20015: {Name: "loop", Type: 'd', Base: 20016},
		20016: {Name: "loop", Type: 'b', Category: 'A', Elem: 20015},
		20017: {Name: "_lost", Type: 'b', Category: 'A', Elem: 29999, Delim: ','},
		20018: {Name: "parts", Type: 'b', Category: 'U', Delim: '|'},
		20019: {Name: "_parts", Type: 'b', Category: 'A', Elem: 20018, Delim: ','},
	}
	array := func(name string, delim byte, elem cdc.Type) cdc.Type {
		return cdc.Type{Kind: cdc.KindArray, Name: name, Delim: delim, Elem: &elem}
	}
	vector := cdc.Type{Kind: cdc.KindVector, Name: "vector"}
	for name, tc := range map[string]struct {
		oid  uint32
		want cdc.Type
	}{
		"built in":                  {23, int4Type},
		"enum":                      {20001, cdc.Type{Name: "mood"}},
		"enum[]":                    {20002, array("_mood", ',', cdc.Type{Name: "mood"})},
		"domain":                    {20003, int4Type},
		"domain over domain":        {20004, int4Type},
		"domain[]":                  {20005, array("_small", ',', int4Type)},
		"domain over array":         {20006, array("_int4", ',', int4Type)},
		"array of it":               {20007, array("_path_of", ',', array("_int4", ',', int4Type))},
		"vector":                    {20008, vector},
		"vector[]":                  {20009, array("_vector", ',', vector)},
		"domain over box, in array": {20011, array("_area", ';', cdc.Type{Name: "box"})},
		"name like an array's":      {20012, cdc.Type{Name: "_odd"}},
		"enum called vector":        {20013, cdc.Type{Name: "vector"}},
		"composite":                 {20014, cdc.Type{Name: "pair"}},
		"element is unknown":        {20017, array("_lost", ',', cdc.Type{})},
		"delimiter of its own":      {20019, array("_parts", '|', cdc.Type{Name: "parts"})},
		"unknown":                   {29999, cdc.Type{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cdc.TypeFor(tc.oid, func(oid uint32) (cdc.CatalogType, bool) {
				c, ok := catalog[oid]
				return c, ok
			})
			require.Empty(t, cmp.Diff(tc.want, got))
		})
	}
	t.Run("a circle ends", func(t *testing.T) {
		t.Parallel()
		got := cdc.TypeFor(20015, func(oid uint32) (cdc.CatalogType, bool) { return catalog[oid], true })
		require.Equal(t, cdc.KindArray, got.Kind)
	})
}
