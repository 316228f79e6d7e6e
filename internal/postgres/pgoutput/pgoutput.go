// Package pgoutput turns the bytes of one pgoutput message into a typed value (PostgreSQL manual, chapter "Logical Replication Message
// Formats"). It is pure: no connection, no state between messages, and no knowledge of what a relation's columns mean.
//
// It reads the form of protocol version 1, in which no transaction id stands inside Relation, Type, Insert, Update, Delete, Truncate and
// Message. Later protocols add that id only between Stream Start and Stream Stop, and only for clients that ask for streaming. Messages of
// streaming and two-phase commit are understood as well: some servers send them unasked (PostgreSQL 18 sends Stream Abort).
//
// Every length and count is checked against the message before it is used, so no input makes a parser panic, read elsewhere or allocate more
// than a small multiple of the message. Insert, Update, Delete and Truncate alias the input and do not allocate; strings are copies.
// Bytes after the end of a message are an error: they mean that its form is not the one that was read.
package pgoutput

// The kinds of message: the first byte of each.
const (
	KindBegin            byte = 'B'
	KindCommit           byte = 'C'
	KindOrigin           byte = 'O'
	KindRelation         byte = 'R'
	KindType             byte = 'Y'
	KindInsert           byte = 'I'
	KindUpdate           byte = 'U'
	KindDelete           byte = 'D'
	KindTruncate         byte = 'T'
	KindMessage          byte = 'M'
	KindStreamStart      byte = 'S'
	KindStreamStop       byte = 'E'
	KindStreamCommit     byte = 'c'
	KindStreamAbort      byte = 'A'
	KindBeginPrepare     byte = 'b'
	KindPrepare          byte = 'P'
	KindCommitPrepared   byte = 'K'
	KindRollbackPrepared byte = 'r'
	KindStreamPrepare    byte = 'p'
)

// Kind is the message's kind byte. It may be one that this package does not know; the caller counts those and goes on.
//
// It is 0 for an empty message, which means nothing and does come: PostgreSQL 12 and 13 send one in place of an Origin that they do not find,
// such as one that the transaction itself created.
func Kind(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// KindName is the manual's name for a kind, in lower case, and "unknown" for one that this package does not know.
func KindName(kind byte) string {
	switch kind {
	case KindBegin:
		return "begin"
	case KindCommit:
		return "commit"
	case KindOrigin:
		return "origin"
	case KindRelation:
		return "relation"
	case KindType:
		return "type"
	case KindInsert:
		return "insert"
	case KindUpdate:
		return "update"
	case KindDelete:
		return "delete"
	case KindTruncate:
		return "truncate"
	case KindMessage:
		return "message"
	case KindStreamStart:
		return "stream start"
	case KindStreamStop:
		return "stream stop"
	case KindStreamCommit:
		return "stream commit"
	case KindStreamAbort:
		return "stream abort"
	}
	return preparedName(kind)
}

func preparedName(kind byte) string {
	switch kind {
	case KindBeginPrepare:
		return "begin prepare"
	case KindPrepare:
		return "prepare"
	case KindCommitPrepared:
		return "commit prepared"
	case KindRollbackPrepared:
		return "rollback prepared"
	case KindStreamPrepare:
		return "stream prepare"
	}
	return "unknown"
}
