package api

import (
	"net/http"
	"strings"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/sign"
)

// Limits of header values, in characters.
const (
	projectMax = 64
	keyMax     = 255
)

// modeReplay is the only value of the idempotency mode header.
const modeReplay = "replay"

// single returns the value of a header that may be sent once: "" and false
// where it was not sent, fault.Invalid where it was sent twice, because then
// no two readers need agree on which one counts.
func single(h http.Header, name string) (value string, sent bool, err error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", true, fault.New(fault.Invalid, "%s: sent more than once", name)
	}
}

// identity returns who claims to have sent the request and the signature given
// for it, both "" where they were not sent.
func identity(h http.Header) (project, signature string, err error) {
	project, _, err = single(h, sign.HeaderProject)
	if err != nil {
		return "", "", err
	}
	if len(project) > projectMax {
		return "", "", fault.New(fault.Invalid, "%s: longer than %d characters", sign.HeaderProject, projectMax)
	}
	signature, _, err = single(h, sign.HeaderSign)
	return project, signature, err
}

// idempotency returns the key, "" for none, and whether a repeat of it asks for
// the first answer. A key that is sent and empty is refused: a client that
// sends one believes itself protected.
func idempotency(h http.Header) (key string, replay bool, err error) {
	key, sent, err := single(h, sign.HeaderKey)
	if err != nil {
		return "", false, err
	}
	if sent && !isKey(key) {
		return "", false, fault.New(fault.Invalid, "%s: want 1 to %d printable ASCII characters", sign.HeaderKey, keyMax)
	}
	mode, asked, err := single(h, sign.HeaderMode)
	switch {
	case err != nil:
		return "", false, err
	case asked && mode != modeReplay:
		return "", false, fault.New(fault.Invalid, "%s: the only mode is %q", sign.HeaderMode, modeReplay)
	case asked && !sent:
		return "", false, fault.New(fault.Invalid, "%s: needs %s", sign.HeaderMode, sign.HeaderKey)
	}
	return key, asked, nil
}

func isKey(s string) bool {
	if s == "" || len(s) > keyMax {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// plain refuses a body that was compressed: the signature is over the bytes as
// sent, and bytes that grow when unpacked have no place before it is checked.
func plain(h http.Header) error {
	for _, v := range h.Values("Content-Encoding") {
		if v != "" && !strings.EqualFold(v, "identity") {
			return fault.New(fault.Invalid, "Content-Encoding: only identity is accepted")
		}
	}
	return nil
}
