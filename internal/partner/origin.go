package partner

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// IsOrigin reports whether s is the origin of a page as browsers write it:
// http or https, a host in lower case, a port unless it is the usual one, and
// nothing behind. Nothing else may enter the policy of a widget, which can name
// no IPv6 address either.
func IsOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || s != u.Scheme+"://"+u.Host {
		return false
	}
	for _, c := range []byte(u.Host) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune(".-:", rune(c)) {
			return false
		}
	}
	return true
}

// CheckOrigin says what is wrong with an origin whose pages are to show
// widgets: over http a page can be changed on its way, so that it has to be
// https except on this machine.
func CheckOrigin(s string) error {
	if !IsOrigin(s) {
		return errors.New("want an origin such as https://shop.example: lower case, without a path or a slash at the end")
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !slices.Contains([]string{"localhost", "127.0.0.1"}, u.Hostname()) {
		return errors.New("want https: over http a page can be changed on its way")
	}
	return nil
}
