package webhook

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// idleConnections is how many connections stay open between requests. How many there are at all is decided by how many deliveries run at
// once, so this only has to be larger.
const idleConnections = 1024

func newTransport(dialer *net.Dialer, c Config, p parsed) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c.HTTP2)
	return &http.Transport{
		// Proxy stays nil: behind a proxy the egress rules could not see the address that is reached.
		DialContext:            dialer.DialContext,
		TLSClientConfig:        newTLS(p),
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true, // answers are short and hardly read
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idleConnections,
		MaxConnsPerHost:        c.MaxConnections,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		WriteBufferSize:        16 << 10,
		Protocols:              protocols,
		// One HTTP/2 connection carries everything: when it goes silent, a ping notices before every request has timed out on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
	}
}

func newTLS(p parsed) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.roots}
}

func dialAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
