package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	variablePrefix = "PAYOUTD_"
	fileSuffix     = "_FILE"
	secretTag      = "secret" // of flags whose value may stand in a file and is never printed
)

// environment gives flags that the command line leaves out the values of their
// variables. An empty variable counts as none.
type environment map[string]string

func newEnvironment(environ []string) environment {
	e := environment{}
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			e[name] = value
		}
	}
	return e
}

// variable is the name of a flag's environment variable.
func variable(flag *kong.Flag) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
}

// Resolve implements kong.Resolver.
func (e environment) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Name == "help" {
		return nil, nil
	}
	name := variable(flag)
	value, set := e[name]
	file, inFile := e[name+fileSuffix]
	inFile = inFile && flag.Tag.Has(secretTag)
	switch {
	case set && inFile:
		return nil, fmt.Errorf("%s and %s are both set: keep one", name, name+fileSuffix)
	case set:
		return value, nil
	case inFile:
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name+fileSuffix, err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	return nil, nil
}

// Validate implements kong.Resolver.
func (e environment) Validate(*kong.Application) error { return nil }

// unknown lists the variables with our prefix that no flag has.
func (e environment) unknown(app *kong.Application) []string {
	known := map[string]bool{}
	_ = kong.Visit(app.Node, func(v kong.Visitable, next kong.Next) error {
		if flag, ok := v.(*kong.Flag); ok {
			known[variable(flag)] = true
			if flag.Tag.Has(secretTag) {
				known[variable(flag)+fileSuffix] = true
			}
		}
		return next(nil)
	})
	var names []string
	for name := range e {
		if strings.HasPrefix(name, variablePrefix) && !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
