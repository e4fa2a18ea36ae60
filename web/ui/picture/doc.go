// Package picture places the nodes and links of a mesh on a plane, for a picture that a template draws.
//
// It owns positions and nothing else: no colours, no words, no SVG. Enter at [Draw].
//
// Gateways stand in the middle. The other nodes stand on a circle around them, those of one gateway side
// by side, so that the lines to them do not cross. A mesh of more than [MostNodes] nodes has one mark for
// all nodes of a gateway.
//
// Invariants:
//   - The same mesh gives the same picture: nothing moves when the page is read again.
//   - No mark or label covers another one.
package picture
