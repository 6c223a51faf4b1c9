//go:build !sabotage

package payout

// sabotage names the fault that the simulation puts into the engine to see that
// it finds it (docs/simulation.md). It does so in builds with the tag sabotage
// alone: in all others this is a constant, and what it guards is not compiled.
const sabotage = ""
