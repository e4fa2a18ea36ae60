// Package download has the API's calls by which a tunnel config leaves the appliance for a person:
// as a file, as a QR code, by a link that works once, and as an archive of several.
//
// It owns download tokens and the lists of archives, in memory: they are short-lived. It does not own
// the texts (store), nor the way of a text to an agent (package tunnel).
//
// Enter at [API.Routes]; each file has its routes, with their descriptions, above their handlers.
//
// Invariants:
//   - Each text that leaves is in the audit log, since it has a private key.
//   - A static node's version is noted as handed out whenever it leaves.
//   - A token gives one file of one node, once.
package download
