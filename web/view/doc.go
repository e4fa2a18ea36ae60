// Package view has the values that both the API and the page show: facts about meshes, nodes,
// commands, rollouts and the appliance, read from the store and in the form of the API's answers.
//
// It owns those forms, reading their values ([Reader]), and the words for them. It does not own the
// changes of requests, nor the rules behind a state (packages presence and tunnel).
//
// Enter at [Reader.Facts], which reads everything known about a node, and at [Reader.ReadStatus].
//
// Invariants:
//   - All values of one node come from one transaction.
//   - A private key is shown only within the text of a tunnel config, and only to logins with write
//     access.
package view
