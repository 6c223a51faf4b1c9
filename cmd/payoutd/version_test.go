package main

import (
	"encoding/json"
	"runtime/debug"
	"testing"
)

func TestSBOM(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.0", Main: debug.Module{Path: "github.com/payoutd/payoutd", Version: "v1.2.3"},
		Deps: []*debug.Module{
			{Path: "example.org/plain", Version: "v0.1.0", Sum: "h1:abc="},
			{Path: "example.org/old", Version: "v0.1.0", Replace: &debug.Module{Path: "example.org/new", Version: "v0.2.0", Sum: "h1:def="}},
		},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "00f1e2d3"}},
	}
	got, err := json.Marshal(newBOM(info))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":` +
		`{"type":"application","bom-ref":"pkg:golang/github.com/payoutd/payoutd@v1.2.3","name":"github.com/payoutd/payoutd","version":"v1.2.3",` +
		`"purl":"pkg:golang/github.com/payoutd/payoutd@v1.2.3","properties":[{"name":"payoutd:build:vcs.revision","value":"00f1e2d3"}]}},"components":[` +
		`{"type":"library","bom-ref":"pkg:golang/stdlib@1.26.0","name":"stdlib","version":"1.26.0","purl":"pkg:golang/stdlib@1.26.0"},` +
		`{"type":"library","bom-ref":"pkg:golang/example.org/plain@v0.1.0","name":"example.org/plain","version":"v0.1.0",` +
		`"purl":"pkg:golang/example.org/plain@v0.1.0","properties":[{"name":"payoutd:go:sum","value":"h1:abc="}]},` +
		`{"type":"library","bom-ref":"pkg:golang/example.org/new@v0.2.0","name":"example.org/new","version":"v0.2.0",` +
		`"purl":"pkg:golang/example.org/new@v0.2.0","properties":[{"name":"payoutd:go:sum","value":"h1:def="}]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
