// Package refusal has the reasons for which the appliance does not carry out an order to a node: a
// command or a step of a rollout.
//
// It owns the errors that the rooms below package appliance return and that package web, which may
// not import those rooms, turns into answers. It does not own the errors of a record (package
// store), of a tunnel config (package tunnel) or of an action's name (package protocol). Enter at
// the variables. Invariant: each has exactly one answer in web.
package refusal
