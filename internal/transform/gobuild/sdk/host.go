package sdk

import "slices"

// Index writes the index of a message, for a module that has room for it; without enough room it writes that there is none. It returns
// how many words it wrote. It runs in the host and is not part of modules.
func Index(b []byte, words []uint32) int {
	if len(words) > 0 {
		words[wordValid] = 0
	}
	if len(b) >= escapedKey || len(words) < wordEntry {
		return min(1, len(words))
	}
	clear(words[:wordEntry])
	fields := 0
	complete := each(b, 0, func(key, keyEnd, from, to int) bool {
		part := -1
		switch string(b[key:keyEnd]) {
		case "record":
			part = partRecord
		case "changes":
			part = partChanges
		case "metadata":
			part = partMetadata
		case "action":
			part = partAction
		}
		if part < 0 {
			return true
		}
		words[wordParts+2*part], words[wordParts+2*part+1] = uint32(from), uint32(to) //nolint:gosec // checked above
		if part == partAction || b[from] != '{' {
			return true
		}
		first := fields
		ok := each(b[:to], from, func(key, keyEnd, from, to int) bool {
			at := wordEntry + entryWords*fields
			if at+entryWords > len(words) {
				return false
			}
			k := uint32(key) //nolint:gosec // checked above
			if slices.Contains(b[key:keyEnd], '\\') {
				k |= escapedKey
			}
			words[at], words[at+1], words[at+2], words[at+3] = k, uint32(keyEnd), uint32(from), uint32(to) //nolint:gosec // checked above
			fields++
			return true
		})
		words[wordFields+2*part], words[wordFields+2*part+1] = uint32(first), uint32(fields-first) //nolint:gosec // checked above
		return ok
	})
	if !complete {
		return 1
	}
	words[wordValid] = 1
	return wordEntry + entryWords*fields
}
