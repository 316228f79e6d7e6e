package webhook_test

import (
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/sink"
	"github.com/sequinstream/sequin/internal/sink/sinktest"
	"github.com/sequinstream/sequin/internal/sink/webhook"
)

func TestBodies(t *testing.T) {
	t.Parallel()
	c, seen := recorder(t)
	batch := sinktest.Batch("m", 2)
	s := open(t, c, sink.Env{})
	require.NoError(t, s.Deliver(t.Context(), batch))
	r := <-seen
	require.Equal(t, []byte(`{"data":[{"record":{"name":"m-0"}},{"record":{"name":"m-1"}}]}`), r.body, "byte for byte")
	require.Equal(t, http.MethodPost, r.Method)
	require.Equal(t, int64(len(r.body)), r.ContentLength)
	require.Empty(t, r.TransferEncoding)
	require.NoError(t, s.Deliver(t.Context(), batch[:1]))
	require.Equal(t, []byte(`{"data":[{"record":{"name":"m-0"}}]}`), (<-seen).body)

	c.Batch = false
	s = open(t, c, sink.Env{})
	require.NoError(t, s.Deliver(t.Context(), batch))
	for _, m := range batch {
		r := <-seen
		require.Equal(t, string(m.Body), string(r.body))
		require.Equal(t, m.ID, r.Header.Get("Webhook-Id"))
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, path, want string }{
		{"", "", "/"},
		{"/hook", "", "/hook"},
		{"/hook/", "", "/hook/"},
		{"/hook", "/orders", "/hook/orders"},
		{"/hook/", "/orders", "/hook/orders"},
		{"", "/orders", "/orders"},
		{"/hook?a=1", "/orders", "/hook/orders?a=1"},
		{"/hook?a=1", "/orders?b=2", "/hook/orders?a=1&b=2"},
		{"/hook?a=1", "?b=2", "/hook?a=1&b=2"},
		{"/hook", "?b=2", "/hook?b=2"},
		{"/hook#there", "#here", "/hook"},
		{"/a%2Fb", "/c%2Fd", "/a%2Fb/c%2Fd"},
		{"", "//elsewhere.test/x", "//elsewhere.test/x"},
		{"/hook", "//elsewhere.test/x", "/hook//elsewhere.test/x"},
		{"/hook", "/ä", "/hook/%C3%A4"},
	} {
		t.Run(test.base+" "+test.path, func(t *testing.T) {
			t.Parallel()
			c, seen := recorder(t)
			c.URL += test.base
			c.Path = test.path
			require.NoError(t, open(t, c, sink.Env{}).Deliver(t.Context(), sinktest.Batch("m", 1)))
			require.Equal(t, test.want, (<-seen).RequestURI)
		})
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	c, seen := recorder(t)
	require.NoError(t, open(t, c, sink.Env{}).Deliver(t.Context(), sinktest.Batch("m", 1)))
	r := <-seen
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.Equal(t, "application/json", r.Header.Get("Accept"))
	require.Equal(t, "sequin", r.Header.Get("User-Agent"))
	require.Empty(t, r.Header.Values("Accept-Encoding"), "nobody reads the answer, so nobody should compress it")
	require.Empty(t, r.Header.Values("Webhook-Signature"))
	require.Empty(t, r.Header.Values("Authorization"))

	c.Headers = map[string]string{"content-type": "application/vnd.acme+json", "x-who": "plain", "x-both": "plain", "Host": "hooks.test", "webhook-id": "mine"}
	c.EncryptedHeaders = map[string]string{"X-Both": "secret", "authorization": "Bearer t0k3n"}
	c.URL = strings.Replace(c.URL, "http://", "http://user:pass@", 1)
	require.NoError(t, open(t, c, sink.Env{}).Deliver(t.Context(), sinktest.Batch("m", 1)))
	r = <-seen
	require.Equal(t, []string{"application/vnd.acme+json"}, r.Header.Values("Content-Type"))
	require.Equal(t, "plain", r.Header.Get("X-Who"))
	require.Equal(t, []string{"secret"}, r.Header.Values("X-Both"), "encrypted headers win")
	require.Equal(t, "Bearer t0k3n", r.Header.Get("Authorization"), "a header wins over the URL's user")
	require.Equal(t, "hooks.test", r.Host)
	require.Equal(t, "mine", r.Header.Get("Webhook-Id"))

	c.EncryptedHeaders = nil
	require.NoError(t, open(t, c, sink.Env{}).Deliver(t.Context(), sinktest.Batch("m", 1)))
	user, password, ok := (<-seen).BasicAuth()
	require.True(t, ok)
	require.Equal(t, "user:pass", user+":"+password)
}

func TestIDsAreStableAcrossAttempts(t *testing.T) {
	t.Parallel()
	c, seen := recorder(t)
	s := open(t, c, sink.Env{})
	batch := sinktest.Batch("m", 3)
	id := func(batch []sink.Message) string {
		require.NoError(t, s.Deliver(t.Context(), batch))
		return (<-seen).Header.Get("Webhook-Id")
	}
	first := id(batch)
	batch[0].Attempt = 2
	require.Equal(t, first, id(batch))
	require.NotEqual(t, first, id(batch[:2]))
	require.NotContains(t, first, ".")
	require.Equal(t, batch[2].ID, id(batch[2:]), "one message goes by its own id")
}

// verify is the receiver's side, written from the Standard Webhooks specification alone.
func verify(t *testing.T, secret string, r request) bool {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
	require.NoError(t, err)
	seconds, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.Unix(seconds, 0), time.Minute)
	mac := hmac.New(sha256.New, key)
	_, err = io.WriteString(mac, r.Header.Get("webhook-id")+"."+r.Header.Get("webhook-timestamp")+"."+string(r.body))
	require.NoError(t, err)
	want := mac.Sum(nil)
	for versioned := range strings.SplitSeq(r.Header.Get("webhook-signature"), " ") {
		version, signature, ok := strings.Cut(versioned, ",")
		require.True(t, ok)
		got, err := base64.StdEncoding.DecodeString(signature)
		require.NoError(t, err)
		if version == "v1" && hmac.Equal(got, want) {
			return true
		}
	}
	return false
}

func secretOf(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	c, seen := recorder(t)
	c.SigningSecrets = []string{secretOf('a'), secretOf('b')}
	c.Headers = map[string]string{"webhook-id": "forged", "webhook-signature": "v1,forged"}
	for _, batch := range []bool{true, false} {
		c.Batch = batch
		require.NoError(t, open(t, c, sink.Env{}).Deliver(t.Context(), sinktest.Batch("m", 1)))
		r := <-seen
		require.Len(t, strings.Split(r.Header.Get("Webhook-Signature"), " "), 2)
		require.Equal(t, []string{"m-0"}, r.Header.Values("Webhook-Id"))
		require.True(t, verify(t, secretOf('a'), r), "the old key")
		require.True(t, verify(t, secretOf('b'), r), "the new key")
		require.False(t, verify(t, secretOf('c'), r))
		r.body = append(r.body, ' ')
		require.False(t, verify(t, secretOf('a'), r), "another body")
	}
}

// The example of the specification's reference implementations.
func TestSignatureOfTheSpecification(t *testing.T) {
	t.Parallel()
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		webhook.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", `{"test": 2432232314}`))
}

func TestGzipWhenAskedFor(t *testing.T) {
	t.Parallel()
	c, seen := recorder(t)
	c.Headers = map[string]string{"content-encoding": "GZIP"}
	c.SigningSecrets = []string{secretOf('a')}
	s := open(t, c, sink.Env{})
	for range 3 {
		batch := sinktest.Batch("m", 50)
		require.NoError(t, s.Deliver(t.Context(), batch))
		r := <-seen
		require.True(t, verify(t, secretOf('a'), r), "what is signed is what is sent")
		reader, err := gzip.NewReader(strings.NewReader(string(r.body)))
		require.NoError(t, err)
		plain, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Less(t, len(r.body), len(plain))
		var envelope struct{ Data []json.RawMessage }
		require.NoError(t, json.Unmarshal(plain, &envelope))
		require.True(t, slices.EqualFunc(batch, envelope.Data, func(m sink.Message, got json.RawMessage) bool { return string(m.Body) == string(got) }))
	}
}
