// Package simulation runs the whole engine in a world of its own: several nodes
// on one database, partners, rails and webhook receivers, all of them simulated,
// in virtual time, with every delay, fault and crash drawn from one seed. The
// same seed is the same history, step by step, on any machine.
//
// It is tests only; docs/simulation.md says how to run it and how to read what
// it finds.
package simulation
