// Package codec is the form in which all engines of the store keep what it
// holds: the columns of each table, the documents in them, the times. Each
// engine has its own SQL around it. Because the form is one, rows move from an
// engine to another as they are.
package codec

import (
	"strings"
	"time"
)

// Micros is how a time is stored: microseconds since 1970, 0 for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Instant is the reverse of Micros.
func Instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Blob is what a column of bytes that takes no NULL is written with.
func Blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Plain is a text of somebody else's in a form that every database takes: it
// holds neither broken UTF-8 nor the character zero.
func Plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
