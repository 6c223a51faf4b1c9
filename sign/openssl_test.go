//go:build openssl

package sign_test

import (
	"strings"
	"testing"

	"github.com/payoutd/payoutd/sign"
)

// The other tests are the same for both builds; this one sees that they tried
// the build that was meant.
func TestLibrary(t *testing.T) {
	if name := sign.Library(); !strings.HasPrefix(name, "OpenSSL ") {
		t.Errorf("it is %q that signs", name)
	}
}
