// Package download has the API's calls by which a tunnel config leaves the appliance for a person:
// as a file, as a QR code, by a link that works once, and as an archive of several.
//
// It owns download tokens and the lists of archives, which are short-lived and so only in memory.
// It owns neither the texts (store) nor their delivery to an agent (package tunnel).
//
// Enter at [API.Routes]; each file has its routes, with their descriptions, above their handlers.
//
// Invariants:
//   - The audit log has each text that is handed out, since a text has a private key.
//   - Each version of a static node that is handed out is recorded.
//   - A token gives one file of one node, once, and ends with the login that asked for it.
package download
