package main

import (
	"runtime"
	"runtime/debug"

	"github.com/payoutd/payoutd/sign"
)

type versionCommand struct{}

func (c *versionCommand) Run(p *program) error {
	version, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	p.printf("payoutd %s%s %s %s/%s, RSA by %s\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH, sign.Library())
	return nil
}
