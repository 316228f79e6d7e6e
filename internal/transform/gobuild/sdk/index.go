package sdk

import "unsafe"

// The host reads messages many times faster than a module can. So it tells where the parts of a message are, and the fields of its objects; a
// module that finds no index reads for itself. Words of 32 bits: whether there is an index; for each part begin and end of its JSON; for the
// parts that are objects the first field and how many there are; then four words a field: begin and end of the key's text, begin and end of the
// value. The first is negative (its highest bit is set) for keys with escapes.
const (
	partRecord = iota
	partChanges
	partMetadata
	partAction
	parts
)

const (
	wordValid  = 0
	wordParts  = 1                    // begin and end of each
	wordFields = wordParts + 2*parts  // first and count of each
	wordEntry  = wordFields + 2*parts // the first field
	entryWords = 4
	escapedKey = 1 << 31
)

// indexed makes a message of the index, if there is one.
func indexed(b []byte, words []uint32) (m message, ok bool) {
	if words[wordValid] != 1 {
		return m, false
	}
	m.record = indexedObject(b, words, partRecord)
	m.changes = indexedObject(b, words, partChanges)
	m.metadata = indexedObject(b, words, partMetadata)
	if from, to := words[wordParts+2*partAction], words[wordParts+2*partAction+1]; to > from {
		m.action = unquote(b[from:to])
	}
	return m, true
}

func indexedObject(b []byte, words []uint32, part int) *Object {
	from, to := words[wordParts+2*part], words[wordParts+2*part+1]
	if to <= from || b[from] != '{' {
		return nil
	}
	first, count := words[wordFields+2*part], words[wordFields+2*part+1]
	o := newObject()
	o.raw, o.message = b[from:to], b
	o.index = words[wordEntry+entryWords*first : wordEntry+entryWords*(first+count)]
	return o
}

// lookup finds the value of a key in the index.
func (o *Object) lookup(key string) []byte {
	for i := len(o.index) - entryWords; i >= 0; i -= entryWords {
		e := o.index[i : i+entryWords : i+entryWords]
		from := e[0] &^ escapedKey
		if int(e[1]-from) != len(key) && e[0] < escapedKey {
			continue
		}
		k := o.message[from:e[1]]
		if e[0] >= escapedKey {
			if unquote(o.message[from-1:e[1]+1]) != key {
				continue
			}
		} else if text(k) != key {
			continue
		}
		return o.message[e[2]:e[3]]
	}
	return nil
}

// Everything that a call makes is gone after it, since the memory is set back. So a call takes its first objects and fields from what lies
// ready, which is far cheaper than to allocate them.
var pool struct { //nolint:gochecknoglobals // a module has one caller
	on      bool
	objects [64]Object
	object  int
	fields  [512]field
	field   int
}

func newObject() *Object {
	if pool.on && pool.object < len(pool.objects) {
		pool.object++
		return &pool.objects[pool.object-1]
	}
	return &Object{}
}

func newFields(n int) []field {
	if pool.on && pool.field+n <= len(pool.fields) {
		pool.field += n
		return pool.fields[pool.field-n : pool.field-n : pool.field]
	}
	return make([]field, 0, n)
}

// words is where the host writes the index. The first word is how many there are, until there is an index.
var words [4096]uint32 //nolint:gochecknoglobals // a module has one caller

func indexRoom() unsafe.Pointer {
	words[0] = uint32(len(words))
	return unsafe.Pointer(&words)
}

// prepare is called once, before the memory is kept: from here on each call begins. It makes the stack as deep as calls commonly need it, so that
// it need not grow in each of them anew.
func prepare(file string) {
	sourceFile, pool.on = file, true
	deepen(48)
}

//go:noinline
func deepen(n int) byte {
	var frame [1 << 10]byte
	frame[n] = byte(n) //nolint:gosec // whatever it is
	if n > 0 {
		frame[0] = deepen(n - 1)
	}
	return frame[n/2]
}

// input keeps the room for messages.
var input []byte //nolint:gochecknoglobals // a module has one caller

func inputRoom(n uint32) unsafe.Pointer {
	input = make([]byte, max(n, 1))
	return unsafe.Pointer(unsafe.SliceData(input))
}
