package hostile

import (
	"reflect"
	"testing"
	"time"
)

func TestUnfold(t *testing.T) {
	sign := func(key, text string) string { return key + " signs " + text }
	for _, c := range []struct {
		name, text string
		want       []Part // nil where it is refused
	}{
		{"as it is", "a\r\n", []Part{{Bytes: []byte("a\r\n")}}},
		{"a line end taken away", "a⟨-⟩\r\nb", []Part{{Bytes: []byte("ab")}}},
		{"bytes", "a⟨ff 00⟩b", []Part{{Bytes: []byte("a\xff\x00b")}}},
		{"repeated", `⟨"ab" × 3⟩`, []Part{{Bytes: []byte("ababab")}}},
		{"a signature", "⟨acme: {}⟩", []Part{{Bytes: []byte("acme signs {}")}}},
		{"time", "a⟨16s⟩b", []Part{{[]byte("a"), 16 * time.Second}, {Bytes: []byte("b")}}},
		{"what comes behind", "L: ⟨rest⟩\r\n\r\n⟨\"a\" × 10⟩⟨1s⟩\r\n", []Part{{[]byte("L: 12\r\n\r\naaaaaaaaaa"), time.Second}, {Bytes: []byte("\r\n")}}},
		{"what comes behind no headers", "L: ⟨rest⟩\r\n", nil},
		{"no note", "⟨what⟩", nil},
	} {
		got, err := Unfold(c.text, sign)
		if (err != nil) != (c.want == nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}
