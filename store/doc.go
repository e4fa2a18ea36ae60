// Package store is the truth: one bbolt file with every record the appliance keeps, the
// transactions that change them, and the feed that tells others what has changed.
//
// It owns the records and their invariants across records (unique names, a node's credentials
// end with the node, a bind token is spent once). It does not own protocol decisions over time
// (command deadlines, presence rules) nor any input format; those are the appliance's and web's.
//
// [DB.Backup] copies the file while it is in use; [Check] reads every page of one that is not, which
// Open does too; [VerifyAudit] checks an exported audit log.
//
// Enter at [Open], then [DB.View] and [DB.Update], or [Read] and [Write], which return a value;
// [DB.Grant] for the broker's hooks; [DB.Subscribe] for what changed.
//
// Invariants:
//   - No other package imports bbolt. One process holds the file; a second one gets [ErrInUse]
//     at once.
//   - Update returns nil only after the transaction is on disk (fdatasync). Many concurrent
//     Updates share one disk write, yet each succeeds or fails on its own.
//   - What makes no sense in the file, wherever it is met, is [ErrDamaged], and a file that another
//     process touched is [ErrMoved]; nothing is written after either.
//   - Grants in memory are replaced after the commit and before any caller or subscriber learns
//     of it, so whoever has seen a revocation succeed will never see the old grant again.
//   - Nothing slow happens in a transaction: no network, no channel, no waiting.
//   - The function of an Update may run more than once: when another Update of its batch fails after
//     it wrote, the rest of the batch runs again. So it must not leave traces outside its Tx.
//     [Tx.OnCommit] is for those, and [Write] returns the value of the run that counts.
//   - Records are values. What a Tx returns is the caller's own: it may be kept and changed, and counts
//     only once it is put back.
//   - The writer keeps records decoded that it has read, which always agree with its transaction. All
//     writes go through putRaw and deleteRaw, which drop what they replace.
//   - Of the passwords and tokens that others log in with, only hashes are kept. In the clear are the
//     texts of tunnel configs, with their private keys, the keys of meshes, nodes and links, and the
//     files of package certs, with the keys of the CA, of TLS certificates and of ACME accounts:
//     whoever can read the data file can use them.
package store
