package wasm

// Rewrite is for fuzzing.
var Rewrite = rewrite
