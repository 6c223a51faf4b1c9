package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// counted notes how often a drill did or saw something; measured notes the most
// that something took. Both are for scripts/drills.sh, which adds up the counts
// of a drill's portions, takes the largest of what was measured, and says in
// FIGURES which file it reads them from.
func counted(t testing.TB, what string, n int) {
	t.Helper()
	note(t, fmt.Sprintf("sum\t%s\t%d\t", what, n))
}

func measured(t testing.TB, what string, took time.Duration) {
	t.Helper()
	note(t, fmt.Sprintf("max\t%s\t%.1f\ts", what, took.Seconds()))
}

// weighed is measured for memory, in MiB.
func weighed(t testing.TB, what string, mebibytes int) {
	t.Helper()
	note(t, fmt.Sprintf("max\t%s\t%d\tMiB", what, mebibytes))
}

func note(t testing.TB, line string) {
	t.Helper()
	path := os.Getenv("FIGURES")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
