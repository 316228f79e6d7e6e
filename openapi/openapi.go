// Package openapi holds the contract of the HTTP API: openapi.yaml is written by hand and comes first, openapi.json is made of it, and the
// reference page too. Clients and types are generated from it.
package openapi

import _ "embed" // the contract travels with the server

//go:generate go run ../scripts/openapi

// JSON is the contract as the server tells it.
//
//go:embed openapi.json
var JSON []byte
