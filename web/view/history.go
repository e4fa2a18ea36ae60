package view

import (
	"time"
)

// Transition is a change of a node's presence.
type Transition struct {
	ID     uint64     `json:"id"`
	At     *time.Time `json:"at"`
	From   string     `json:"from"`
	To     string     `json:"to"`
	Reason string     `json:"reason"`
}
