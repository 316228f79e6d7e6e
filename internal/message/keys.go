package message

import "github.com/sequinstream/sequin/internal/cdc"

// RecordPKs is the text of the primary key's columns in attnum order, of the old row for a delete and of the new one otherwise. It is empty
// without a primary key and for a truncate. A key column whose value is not there (a replica identity that does not cover the primary key) gives
// an empty string.
func RecordPKs(c *cdc.Change) []string {
	if c.Relation == nil || len(image(c)) == 0 {
		return []string{}
	}
	pks := make([]string, len(c.Relation.PrimaryKey))
	for i, column := range c.Relation.PrimaryKey {
		pks[i] = string(keyText(c, column))
	}
	return pks
}

// keyText is the text of a key column, nil when it is not there.
func keyText(c *cdc.Change, column int) []byte {
	d, ok := image(c).Column(column)
	if ok && d.Unchanged() {
		// A key that is stored out of line comes with the old key, even when it did not change.
		d, ok = c.Old.Column(column)
	}
	switch {
	case !ok || d.Null():
		return nil
	case d.Kind == 'b':
		return hexText(nil, d.Text)
	}
	return d.Text
}

// appendKeys appends RecordPKs as JSON.
func appendKeys(dst []byte, c *cdc.Change) []byte {
	dst = append(dst, '[')
	if len(image(c)) > 0 {
		for i, column := range c.Relation.PrimaryKey {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, keyText(c, column))
		}
	}
	return append(dst, ']')
}
