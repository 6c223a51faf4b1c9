package admin

import (
	"os"
	"path/filepath"
	"testing"
)

// The socket is its owner's from the first moment, before it is given a mode. On other
// systems the folder is what keeps others out until then.
func TestSocketIsNeverOpenToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payoutd.sock")
	l, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a socket for its owner only", info, err)
	}
}
