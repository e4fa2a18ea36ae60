// Package nodelist finds and sorts the nodes of a list.
//
// It owns the orders of the list and the texts that a search finds. It does not own the states of a
// node (package view), nor the filters in the page's address (package page).
//
// Enter at [Node] and [Sort].
package nodelist
