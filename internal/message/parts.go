package message

import "github.com/sequinstream/sequin/internal/cdc"

// AppendChanges appends the old values of the columns that an update changed, as the message has them; null for what is no update. The change is one
// that AppendRecordOnly accepts.
func AppendChanges(dst []byte, c *cdc.Change, f Format) []byte { return appendChanges(dst, c, f) }

// AppendAnnotations appends the annotations of the change's transaction, as the message has them.
func AppendAnnotations(dst []byte, c *cdc.Change) []byte {
	return appendAnnotations(dst, c.Annotations)
}

// AppendRecordAsText appends the record with the documents of json columns as strings, for destinations that do not take every document that
// Postgres keeps: one with a \u0000 is a json and no jsonb. Errors are those of Append.
func AppendRecordAsText(dst []byte, c *cdc.Change) ([]byte, error) {
	if err := check(c); err != nil {
		return dst, err
	}
	start := len(dst)
	dst, _, err := appendRecord(dst, c, Format{documentsAsText: true})
	if err != nil {
		return dst[:start], err
	}
	return dst, nil
}

// AppendChangesAsText is AppendChanges in the form of AppendRecordAsText.
func AppendChangesAsText(dst []byte, c *cdc.Change) []byte {
	return appendChanges(dst, c, Format{documentsAsText: true})
}

// AppendText appends a text as a JSON string. Bytes that are not UTF-8 become U+FFFD, one for each.
func AppendText(dst, text []byte) []byte { return appendString(dst, text) }
