package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/sequinstream/sequin/internal/sink"
)

// signer makes the signatures of the Standard Webhooks specification: HMAC-SHA256 over "id.timestamp.body", one for each active key.
type signer struct{ keys [][]byte }

func (s signer) active() bool { return len(s.keys) > 0 }

// header is the value of webhook-signature: "v1,<Base64>" for every key, separated by spaces.
func (s signer) header(id, timestamp string, body []byte) string {
	var value []byte
	for i, key := range s.keys {
		if i > 0 {
			value = append(value, ' ')
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		value = append(value, "v1,"...)
		value = base64.StdEncoding.AppendEncode(value, mac.Sum(nil))
	}
	return string(value)
}

// requestID names a batch: the id of its only message, or a hash of all of them, so that the same messages have the same name again.
func requestID(batch []sink.Message) string {
	if len(batch) == 1 {
		return batch[0].ID
	}
	hash := sha256.New()
	for i := range batch {
		hash.Write([]byte(batch[i].ID))
		hash.Write([]byte{'\n'})
	}
	return "batch_" + hex.EncodeToString(hash.Sum(nil)[:16])
}
