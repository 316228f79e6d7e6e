// Package vault seals secrets for storage with AES-256-GCM. A Keyring seals with its current key and opens what its older keys sealed, so that
// keys can change while everything stays readable. The keys come from the operator, or from a file in the data directory that is made when it
// is needed. What is sealed is bound to a context, such as the place where it is stored: moved elsewhere it does not open. The package knows
// nothing of what it seals. A Keyring is safe for concurrent use.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sequinstream/sequin/internal/problem"
)

// Codes of the errors.
const (
	CodeKeyInvalid    = "vault_key_invalid"
	CodeKeyUnreadable = "vault_key_unreadable"
	CodeKeyMissing    = "vault_key_missing"
	CodeKeySupplied   = "vault_key_supplied"
	CodeDamaged       = "vault_damaged"
)

// KeyID is the first 8 bytes of the SHA-256 of a key, in hex: it tells keys apart and reveals nothing.
type KeyID string

// keyBytes is how long a key is at least, and how long the keys are that we make.
const keyBytes = 32

// Options tell where the keys come from.
type Options struct {
	Key      string   // base64 of 32 bytes or more; "": the first key of File
	Previous []string // older keys, which may still open
	File     string   // keys in base64, one a line, the current one first; made when Key is "" and it is not there. With Key, its keys may still open
}

// key is one key, ready for use.
type key struct {
	id     KeyID
	secret []byte
	aead   cipher.AEAD
}

// ring is what a Keyring knows at one moment: the current key first, then those of the file, then those that the operator supplied.
type ring struct {
	current  *key
	file     []*key
	supplied []*key
}

// Keyring seals and opens.
type Keyring struct {
	path     string
	supplied bool // the current key comes from the operator
	ring     atomic.Pointer[ring]
	changing sync.Mutex // held while the file is written
}

// Open reads the keys, and makes the file when it is needed.
func Open(o Options) (*Keyring, error) {
	k := &Keyring{path: o.File, supplied: o.Key != ""}
	r := &ring{}
	for i, text := range append([]string{o.Key}, o.Previous...) {
		if text == "" {
			continue
		}
		parsed, err := parseKey(text)
		if err != nil {
			return nil, problem.New(CodeKeyInvalid, "%s cannot be used", which(i)).WithDetail("it %v", err).
				WithHint("a key is base64 of 32 random bytes; make one with: openssl rand -base64 32")
		}
		r.supplied = append(r.supplied, parsed)
	}
	file, err := readKeys(o.File)
	if err == nil && len(file) == 0 && !k.supplied {
		file, err = makeFile(o.File)
	}
	if err != nil {
		return nil, err
	}
	r.file = file
	if k.supplied {
		r.current = r.supplied[0]
	} else {
		r.current = r.file[0]
	}
	k.ring.Store(r)
	return k, nil
}

func which(i int) string {
	if i == 0 {
		return "the vault key"
	}
	return fmt.Sprintf("previous vault key %d", i)
}

var (
	errNotBase64 = errors.New("is not base64")
	errShort     = fmt.Errorf("has less than %d bytes", keyBytes)
)

// parseKey decodes a key. The errors say nothing of it.
func parseKey(text string) (*key, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	secret, err := base64.RawStdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return nil, errNotBase64 // the cause would tell a position, which says something of the key
	case len(secret) < keyBytes:
		return nil, errShort
	}
	return newKey(secret)
}

// newKey derives the key of the cipher, so that what is written down of the secret, its id, has nothing to do with it.
func newKey(secret []byte) (*key, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, "sequin vault, AES-256-GCM", keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive the vault key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("make the vault's cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make the vault's cipher: %w", err)
	}
	sum := sha256.Sum256(secret)
	return &key{id: KeyID(hex.EncodeToString(sum[:idBytes])), secret: secret, aead: aead}, nil
}

// randomKey makes a key.
func randomKey() (*key, error) {
	secret := make([]byte, keyBytes)
	_, _ = rand.Read(secret) // it never fails
	return newKey(secret)
}

// Current is the key that seals.
func (k *Keyring) Current() KeyID { return k.ring.Load().current.id }

// find returns the key of an id, or nil.
func (r *ring) find(id KeyID) *key {
	for _, some := range [][]*key{{r.current}, r.file, r.supplied} {
		if i := slices.IndexFunc(some, func(c *key) bool { return c.id == id }); i >= 0 {
			return some[i]
		}
	}
	return nil
}

// Rotate makes a new current key and returns when the file has it durably; the older ones still open until Retire. Keys that the operator
// supplies are the operator's to rotate.
func (k *Keyring) Rotate() (KeyID, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	if k.supplied {
		return "", problem.New(CodeKeySupplied, "the vault key is supplied from outside, so it is not rotated here").
			WithHint("start with the new key as the vault key and the present one among the previous keys")
	}
	old := k.ring.Load()
	fresh, err := randomKey()
	if err != nil {
		return "", err
	}
	file := append([]*key{fresh}, old.file...)
	if err := writeKeys(k.path, file); err != nil {
		return "", err
	}
	k.ring.Store(&ring{current: fresh, file: file, supplied: old.supplied})
	return fresh.id, nil
}

// Retire forgets the keys of the file that are not current, for ever: what they sealed and nobody sealed again is lost.
func (k *Keyring) Retire() error {
	k.changing.Lock()
	defer k.changing.Unlock()
	old := k.ring.Load()
	fresh := &ring{current: old.current, supplied: old.supplied}
	if k.supplied {
		if err := removeFile(k.path); err != nil {
			return err
		}
	} else {
		fresh.file = old.file[:1:1]
		if err := writeKeys(k.path, fresh.file); err != nil {
			return err
		}
	}
	k.ring.Store(fresh)
	return nil
}
