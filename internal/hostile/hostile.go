// Package hostile reads the notation in which hostile requests are written down,
// in internal/api/testdata/hostile. Tests of the API, and tests of a proxy in front
// of it, share it; the program has no use for it.
package hostile

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Part of what goes over a connection: bytes, and then time that passes.
type Part struct {
	Bytes []byte
	Wait  time.Duration
}

var (
	notation = regexp.MustCompile(`⟨([^⟩]*)⟩`)
	joined   = regexp.MustCompile(`⟨-⟩\r?\n`)
	repeated = regexp.MustCompile(`(?s)^"(.+)" × ([0-9]+)$`)
	signedBy = regexp.MustCompile(`(?s)^([a-z0-9-]+): (.*)$`)
)

// Unfold turns a text into what is sent. In it ⟨ff 00⟩ is bytes, ⟨"[" × 100⟩ a
// text repeated, ⟨acme: {}⟩ the signature of {} by that key, ⟨rest⟩ how many bytes
// come behind the headers, ⟨16s⟩ time that passes, and ⟨-⟩ takes away the line end
// behind it.
func Unfold(text string, sign func(key, text string) string) ([]Part, error) {
	text = joined.ReplaceAllString(text, "")
	var parts []Part
	var now []byte
	rest := -1 // where the number is to stand in the part that was begun then
	in, last := 0, 0
	for _, at := range notation.FindAllStringSubmatchIndex(text, -1) {
		now = append(now, text[last:at[0]]...)
		last = at[1]
		note := text[at[2]:at[3]]
		if note == "rest" {
			in, rest = len(parts), len(now)
			continue
		}
		if wait, err := time.ParseDuration(note); err == nil {
			parts = append(parts, Part{now, wait})
			now = nil
			continue
		}
		if m := repeated.FindStringSubmatch(note); m != nil {
			times, err := strconv.Atoi(m[2])
			if err != nil {
				return nil, err
			}
			now = append(now, strings.Repeat(m[1], times)...)
			continue
		}
		if m := signedBy.FindStringSubmatch(note); m != nil {
			now = append(now, sign(m[1], m[2])...)
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(note, " ", ""))
		if err != nil {
			return nil, fmt.Errorf("%q is none of the notes", note)
		}
		now = append(now, raw...)
	}
	parts = append(parts, Part{Bytes: append(now, text[last:]...)})
	if rest >= 0 {
		var all []byte
		for _, p := range parts {
			all = append(all, p.Bytes...)
		}
		_, behind, ok := strings.Cut(string(all), "\r\n\r\n")
		if !ok {
			return nil, fmt.Errorf("⟨rest⟩ of headers that do not end")
		}
		parts[in].Bytes = slices.Insert(parts[in].Bytes, rest, []byte(strconv.Itoa(len(behind)))...)
	}
	return parts, nil
}
