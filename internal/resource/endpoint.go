package resource

import (
	"encoding/base64"
	"errors"
	"strings"
)

// HTTPEndpoint is where webhooks go. Any number of sinks may share one.
type HTTPEndpoint struct {
	Meta
	Name             string
	URL              string
	Headers          map[string]string
	EncryptedHeaders map[string]Secret
	SigningSecrets   []Secret // Standard Webhooks keys, "whsec_" and base64; every request is signed with each of them
}

// MaxSigningSecrets is how many keys may be active at once: the old one and the new one during a rotation.
const MaxSigningSecrets = 2

const signingPrefix = "whsec_"

var errSigningSecret = errors.New("must be whsec_ followed by 24 to 64 bytes in base64")

// SigningKey decodes a Standard Webhooks secret into the key of its HMAC.
func SigningKey(secret Secret) ([]byte, error) {
	text, ok := strings.CutPrefix(secret.Reveal(), signingPrefix)
	if !ok {
		return nil, errSigningSecret
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errSigningSecret
	}
	return key, nil
}
