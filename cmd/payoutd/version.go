package main

import (
	"encoding/json"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/payoutd/payoutd/sign"
)

type versionCommand struct {
	SBOM bool `name:"sbom" help:"Print what the program was built of, as CycloneDX in JSON."`
}

func (c *versionCommand) Run(p *program) error {
	info, ok := debug.ReadBuildInfo()
	if c.SBOM {
		if !ok {
			return errors.New("the program was built without what it is built of")
		}
		b, err := json.MarshalIndent(newBOM(info), "", "  ")
		if err != nil {
			return err
		}
		p.printf("%s\n", b)
		return nil
	}
	version, revision := "(devel)", ""
	if ok {
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

// bom is a CycloneDX 1.6 document. It has no time and no serial number, so that
// the same program prints the same.
type bom struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   bomMetadata `json:"metadata"`
	Components []component `json:"components"`
}

type bomMetadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// newBOM lists what the linker has put into the program: its own module with how
// it was built, Go's library, and each module with the hash of go.sum.
func newBOM(info *debug.BuildInfo) bom {
	of := func(kind, path, version string) component {
		purl := "pkg:golang/" + path + "@" + version
		return component{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl}
	}
	self := of("application", info.Main.Path, info.Main.Version)
	for _, s := range info.Settings {
		self.Properties = append(self.Properties, property{"payoutd:build:" + s.Key, s.Value})
	}
	b := bom{
		Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: bomMetadata{self},
		Components: []component{of("library", "stdlib", strings.TrimPrefix(info.GoVersion, "go"))},
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := of("library", m.Path, m.Version)
		if m.Sum != "" {
			c.Properties = []property{{"payoutd:go:sum", m.Sum}}
		}
		b.Components = append(b.Components, c)
	}
	return b
}
