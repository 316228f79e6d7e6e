package webhook

// Sign makes a signature header as a request would carry it.
func Sign(secret, id, timestamp, body string) string {
	var p parsed
	Config{SigningSecrets: []string{secret}}.parseSecrets(&p, mistakes{})
	return p.signer.header(id, timestamp, []byte(body))
}
