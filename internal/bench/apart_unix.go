//go:build unix && !linux

package bench

import (
	"os/exec"
	"syscall"
)

// apart keeps the terminal's signals from a child.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
