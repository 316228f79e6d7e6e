package vault

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/sequinstream/sequin/internal/problem"
)

// What is sealed looks like this:
//
//	version 1   key id 8   nonce 12   ciphertext   tag 16
//
// Version, key id and the context are authenticated with the ciphertext. Nonces are random: a key may seal 2^32 times before two are likely to
// meet, which is a thousand times a second for seven weeks.
const (
	version   = 1
	idBytes   = 8
	nonceSize = 12
	tagSize   = 16
	headSize  = 1 + idBytes
	overhead  = headSize + nonceSize + tagSize
)

// Seal encrypts plain with the current key. Only the same context opens it.
func (k *Keyring) Seal(plain []byte, context string) []byte {
	current := k.ring.Load().current
	sealed := make([]byte, 0, overhead+len(plain))
	sealed = append(sealed, version)
	sealed, err := hex.AppendDecode(sealed, []byte(current.id))
	if err != nil {
		panic("vault: a key id that is not hex: " + err.Error())
	}
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	sealed = append(sealed, nonce[:]...)
	return current.aead.Seal(sealed, nonce[:], plain, authenticated(sealed, context))
}

// authenticated is what the tag covers beside the ciphertext.
func authenticated(sealed []byte, context string) []byte {
	return append(append(make([]byte, 0, headSize+len(context)), sealed[:headSize]...), context...)
}

// SealedWith tells which key sealed; false says that these bytes were not sealed.
func (k *Keyring) SealedWith(sealed []byte) (KeyID, bool) {
	if len(sealed) < overhead || sealed[0] != version {
		return "", false
	}
	return KeyID(hex.EncodeToString(sealed[1:headSize])), true
}

// Unseal decrypts what Seal returned for that context.
func (k *Keyring) Unseal(sealed []byte, context string) ([]byte, error) {
	id, ok := k.SealedWith(sealed)
	if !ok {
		return nil, damaged(context, "it is not in a format that this version knows")
	}
	key := k.ring.Load().find(id)
	if key == nil {
		return nil, problem.New(CodeKeyMissing, "vault key %s is missing", id).
			WithDetail("%s was sealed with it", context).
			WithHint("restore vault.key from the backup that belongs to this data directory, or give that key as the vault key or among the previous ones")
	}
	nonce, text := sealed[headSize:headSize+nonceSize], sealed[headSize+nonceSize:]
	plain, err := key.aead.Open(nil, nonce, text, authenticated(sealed, context))
	if err != nil {
		return nil, damaged(context, "the check of vault key "+string(id)+" fails: it was changed, or sealed for another place")
	}
	return plain, nil
}

func damaged(context, why string) error {
	return problem.New(CodeDamaged, "a sealed value cannot be opened").WithDetail("%s: %s", context, why).
		WithHint("check the storage; restore the data directory, or declare this secret again")
}
