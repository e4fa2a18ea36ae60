// Package view is what both the API and the page show: facts about meshes, nodes, commands, rollouts and the appliance, read from the
// store and put into the form that the API answers.
//
// It owns those forms, the reading of what they show ([Reader]), and the words for it. It does not own what a request may change, nor
// the rules behind a state (packages presence and tunnel).
//
// Enter at [Reader.Facts], which reads all that is known of a node, and at [Reader.ReadStatus].
//
// Invariants:
//   - What is shown of one node comes from one transaction.
//   - A private key stands in the text of a tunnel config only, which those see who may write.
package view
