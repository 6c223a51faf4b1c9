package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

type configCommand struct{ serveFlags }

// Run prints each setting as its variable, with where its value comes from.
func (c *configCommand) Run(p *program, g *global, parsed *kong.Context) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	if err := c.check(f.db); err != nil {
		return err
	}
	sources := map[string]string{}
	for _, path := range parsed.Path {
		switch {
		case path.Flag == nil:
		case path.Resolved:
			sources[path.Flag.Name] = "environment"
		default:
			sources[path.Flag.Name] = "command line"
		}
	}
	return p.table(func(row func(...any)) {
		for _, flag := range parsed.Flags() {
			source, value := sources[flag.Name], fmt.Sprint(parsed.FlagValue(flag))
			if list, ok := parsed.FlagValue(flag).([]string); ok {
				value = strings.Join(list, ",")
			}
			switch {
			case flag.Name == "help", flag.Hidden && source == "":
				continue
			case flag.Name == "vault-key" && source == "":
				value, source = f.path("vault.key"), "file"
			case flag.Name == "drain-delay":
				value = c.drainDelay(f.db).String()
			case flag.Name == "db":
				value = f.db.given()
			case flag.Tag.Has(secretTag) && value != "":
				value = "[secret]"
			case flag.Name == "data":
				value = f.dir
			}
			if source == "" {
				source = "default"
			}
			row(variable(flag)+"="+value, "# "+source)
		}
	})
}
