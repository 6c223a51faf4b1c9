package bench

import (
	"os/exec"
	"syscall"
)

// apart keeps the terminal's signals from a child, and ends the child if this
// process is killed.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
