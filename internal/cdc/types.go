package cdc

// builtinType is a row of the table below: a type of PostgreSQL 12 to 18 whose OID is fixed, and that a column can have.
type builtinType struct {
	oid, array uint32 // array is 0 when the type has no array type
	kind       Kind
	name       string
}

// builtinTypes is pg_type.dat without pseudo-types, array types (they follow from their elements) and the row types of shared catalogs.
// int2vector and oidvector are arrays to the catalog, but they print as numbers with blanks between them.
var builtinTypes = [...]builtinType{
	{16, 1000, KindBool, "bool"},
	{17, 1001, KindText, "bytea"},
	{18, 1002, KindText, "char"},
	{19, 1003, KindText, "name"},
	{20, 1016, KindInt, "int8"},
	{21, 1005, KindInt, "int2"},
	{22, 1006, KindText, "int2vector"},
	{23, 1007, KindInt, "int4"},
	{24, 1008, KindText, "regproc"},
	{25, 1009, KindText, "text"},
	{26, 1028, KindInt, "oid"},
	{27, 1010, KindText, "tid"},
	{28, 1011, KindText, "xid"},
	{29, 1012, KindText, "cid"},
	{30, 1013, KindText, "oidvector"},
	{71, 210, KindText, "pg_type"},
	{75, 270, KindText, "pg_attribute"},
	{81, 272, KindText, "pg_proc"},
	{83, 273, KindText, "pg_class"},
	{114, 199, KindJSON, "json"},
	{142, 143, KindText, "xml"},
	{194, 0, KindText, "pg_node_tree"},
	{600, 1017, KindText, "point"},
	{601, 1018, KindText, "lseg"},
	{602, 1019, KindText, "path"},
	{603, 1020, KindText, "box"},
	{604, 1027, KindText, "polygon"},
	{628, 629, KindText, "line"},
	{650, 651, KindText, "cidr"},
	{700, 1021, KindFloat, "float4"},
	{701, 1022, KindFloat, "float8"},
	{718, 719, KindText, "circle"},
	{774, 775, KindText, "macaddr8"},
	{790, 791, KindText, "money"},
	{829, 1040, KindText, "macaddr"},
	{869, 1041, KindText, "inet"},
	{1033, 1034, KindText, "aclitem"},
	{1042, 1014, KindText, "bpchar"},
	{1043, 1015, KindText, "varchar"},
	{1082, 1182, KindDate, "date"},
	{1083, 1183, KindText, "time"},
	{1114, 1115, KindTimestamp, "timestamp"},
	{1184, 1185, KindTimestampTZ, "timestamptz"},
	{1186, 1187, KindInterval, "interval"},
	{1266, 1270, KindText, "timetz"},
	{1560, 1561, KindText, "bit"},
	{1562, 1563, KindText, "varbit"},
	{1700, 1231, KindNumeric, "numeric"},
	{1790, 2201, KindText, "refcursor"},
	{2202, 2207, KindText, "regprocedure"},
	{2203, 2208, KindText, "regoper"},
	{2204, 2209, KindText, "regoperator"},
	{2205, 2210, KindText, "regclass"},
	{2206, 2211, KindText, "regtype"},
	{2950, 2951, KindText, "uuid"},
	{2970, 2949, KindText, "txid_snapshot"},
	{3220, 3221, KindText, "pg_lsn"},
	{3361, 0, KindText, "pg_ndistinct"},
	{3402, 0, KindText, "pg_dependencies"},
	{3614, 3643, KindText, "tsvector"},
	{3615, 3645, KindText, "tsquery"},
	{3642, 3644, KindText, "gtsvector"},
	{3734, 3735, KindText, "regconfig"},
	{3769, 3770, KindText, "regdictionary"},
	{3802, 3807, KindJSON, "jsonb"},
	{3904, 3905, KindText, "int4range"},
	{3906, 3907, KindText, "numrange"},
	{3908, 3909, KindText, "tsrange"},
	{3910, 3911, KindText, "tstzrange"},
	{3912, 3913, KindText, "daterange"},
	{3926, 3927, KindText, "int8range"},
	{4072, 4073, KindText, "jsonpath"},
	{4089, 4090, KindText, "regnamespace"},
	{4096, 4097, KindText, "regrole"},
	{4191, 4192, KindText, "regcollation"},
	{4451, 6150, KindText, "int4multirange"},
	{4532, 6151, KindText, "nummultirange"},
	{4533, 6152, KindText, "tsmultirange"},
	{4534, 6153, KindText, "tstzmultirange"},
	{4535, 6155, KindText, "datemultirange"},
	{4536, 6157, KindText, "int8multirange"},
	{4600, 0, KindText, "pg_brin_bloom_summary"},
	{4601, 0, KindText, "pg_brin_minmax_multi_summary"},
	{5017, 0, KindText, "pg_mcv_list"},
	{5038, 5039, KindText, "pg_snapshot"},
	{5069, 271, KindText, "xid8"},
}

// boxOID is the only built-in type whose arrays do not separate elements by commas.
const boxOID = 603

// BuiltinType is the type with a fixed OID, and false when this package does not know it.
func BuiltinType(oid uint32) (Type, bool) {
	if oid == 0 {
		return Type{}, false
	}
	for i := range builtinTypes {
		b := &builtinTypes[i]
		switch oid {
		case b.oid:
			return Type{Kind: b.kind, Name: b.name}, true
		case b.array:
			delim := byte(',')
			if b.oid == boxOID {
				delim = ';'
			}
			return Type{Kind: KindArray, Name: "_" + b.name, Delim: delim, Elem: &Type{Kind: b.kind, Name: b.name}}, true
		}
	}
	return Type{}, false
}

// CatalogType is what pg_type says of a type that is not built in.
type CatalogType struct {
	Name     string // typname
	Type     byte   // typtype: 'b' base, 'c' composite, 'd' domain, 'e' enum, 'm' multirange, 'r' range
	Category byte   // typcategory: 'A' for arrays
	Base     uint32 // typbasetype of a domain
	Elem     uint32 // typelem of an array
	Delim    byte   // typdelim: what separates the type's values in arrays of it
}

// maxTypeDepth bounds how far domains and arrays are followed, should a catalog read in pieces not fit together.
const maxTypeDepth = 32

// TypeFor works out how values of a type are read. lookup answers from the catalog and is asked only for types that are not built in.
// Domains become their base types, also inside arrays. A type that neither knows reads as text.
func TypeFor(oid uint32, lookup func(oid uint32) (CatalogType, bool)) Type {
	t, _ := typeFor(oid, lookup, maxTypeDepth)
	return t
}

// typeFor also returns the type's own delimiter.
func typeFor(oid uint32, lookup func(oid uint32) (CatalogType, bool), depth int) (t Type, delim byte) {
	if t, ok := BuiltinType(oid); ok {
		if oid == boxOID {
			return t, ';'
		}
		return t, ','
	}
	c, ok := lookup(oid)
	if !ok || depth == 0 {
		return Type{Kind: KindText, Name: c.Name}, ','
	}
	delim = c.Delim
	if delim == 0 {
		delim = ','
	}
	switch {
	case c.Type == 'd':
		base, _ := typeFor(c.Base, lookup, depth-1)
		return base, delim
	case c.Category == 'A' && c.Elem != 0:
		elem, elemDelim := typeFor(c.Elem, lookup, depth-1)
		return Type{Kind: KindArray, Name: c.Name, Delim: elemDelim, Elem: &elem}, delim
	case c.Type == 'b' && c.Name == "vector": // pgvector; extensions have no fixed OIDs
		return Type{Kind: KindVector, Name: c.Name}, delim
	}
	return Type{Kind: KindText, Name: c.Name}, delim
}
