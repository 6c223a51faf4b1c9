//go:build sabotage

package payout

var sabotage string

// Sabotage puts a fault into every engine of the program, by its name in
// docs/simulation.md; "" takes it out. No engine may be at work meanwhile.
func Sabotage(fault string) { sabotage = fault }
