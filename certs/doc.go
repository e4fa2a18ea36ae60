// Package certs keeps what TLS needs: certificates, their keys and the accounts at issuers.
//
// It owns how certmagic's files are kept in the store, so that a backup of the store is a backup of
// everything. It does not own the store's file, and does not issue or serve certificates yet.
//
// Enter at [NewStorage].
//
// Invariants:
//   - There are no files beside the store: nothing of a certificate is lost or left over when the
//     store is copied, restored or moved.
//   - Locks are held in memory only: one process holds the store, so a crash leaves none behind.
package certs
