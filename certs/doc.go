// Package certs gets, keeps and renews the certificates of the TLS listeners, and says which roots
// verify them.
//
// It owns the appliance's own CA (local), certificates from an ACME issuer (acme) and from files
// (files), their renewal by certmagic, and where all that is kept: in the store. It does not own
// the listeners, nor who is told of the roots.
//
// Enter at [New], then [Keeper.Start], [Keeper.TLSConfig] and [Keeper.CACert]. [Stored] reads what
// is kept while no Keeper runs.
//
// Invariants:
//   - Private keys are in the store and nowhere else, except those the operator keeps in files.
//   - There are no files beside the store: nothing of a certificate is lost or left over when the
//     store is copied, restored or moved.
//   - Whatever fails, the certificate in use stays in use; the failure is logged, kept for
//     [Keeper.Status], and tried again.
//   - Which roots serve and are handed out follows from the time and from all that were ever made, each
//     time anew: nothing is forgotten because of what a wrong clock showed.
//   - A root that was handed out is handed out until it expires, and what is served to a name that
//     was in a certificate of the own CA keeps being verified by the roots of that time.
//   - Nothing but the ACME issuer that was asked for is ever contacted.
//   - Locks are held in memory only: one process holds the store, so a crash leaves none behind.
package certs
