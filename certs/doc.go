// Package certs gets, keeps and renews the certificates of the TLS listeners, and knows the roots
// that verify them.
//
// It owns the appliance's own CA (local), certificates from an ACME issuer (acme) and from files
// (files), their renewal by certmagic, and their place in the store. It does not own the listeners,
// nor the decision to whom the roots are handed out.
//
// Enter at [New], then [Keeper.Start], [Keeper.TLSConfig] and [Keeper.CACert]. [Stored] reads the
// stored certificates while no Keeper runs.
//
// Invariants:
//   - Private keys are in the store and nowhere else, except those the operator keeps in files.
//   - There are no files beside the store: no part of a certificate is lost or left over when the
//     store is copied, restored or moved.
//   - After any failure the certificate in use stays in use; the failure is logged, kept for
//     [Keeper.Status], and the operation is retried.
//   - The roots to serve and to hand out follow from the time and from all roots ever made,
//     computed anew each time: nothing is forgotten because of a wrong clock.
//   - A root that was handed out is handed out until it expires. Every certificate served for a
//     name that was in a certificate of the own CA can be verified by the roots of that time.
//   - Only the configured ACME issuer is ever contacted.
//   - Locks are held in memory only: one process holds the store, so a crash leaves none behind.
package certs
