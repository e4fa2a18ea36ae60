// Package store keeps the appliance's data: one bbolt file with every record, the transactions that
// change them, and the feed that tells others which records changed.
//
// It owns the records and the invariants across them (unique names, a node's credentials end with
// the node, a bind token is spent once). It does not own decisions over time (command deadlines,
// presence) nor any input format: see appliance/command, presence and web.
//
// [DB.Backup] copies the file while it is in use. [Check] reads every page of a file that is not in
// use; Open does the same. [VerifyAudit] checks an exported audit log.
//
// Enter at [Open], then [DB.View] and [DB.Update], or [Read] and [Write], which return a value;
// [DB.Grant] for the broker's hooks; [DB.Subscribe] for changes.
//
// Invariants:
//   - No other package imports bbolt. One process holds the file; a second one gets [ErrInUse] at
//     once.
//   - Update returns nil only after the transaction is on disk (fdatasync). Many concurrent Updates
//     share one disk write, yet each succeeds or fails on its own.
//   - Data in the file that makes no sense is [ErrDamaged] wherever it is found, and a file that
//     another process touched is [ErrMoved]. Nothing is written after either.
//   - Grants in memory are replaced after the commit and before any caller or subscriber learns of
//     it. After a revocation has returned, no reader sees the old grant again.
//   - Nothing slow happens in a transaction: no network, no channel, no waiting.
//   - The function of an Update may run more than once: if another Update of its batch fails after
//     it wrote, the rest of the batch runs again. So it must not leave traces outside its Tx.
//     [Tx.OnCommit] is for those, and [Write] returns the value of the run that was committed.
//   - Records are values. A record that a Tx returns belongs to the caller, who may keep and change
//     it; a change counts only once the record is put back.
//   - The writer keeps the records that it has read decoded, always in agreement with its
//     transaction. All writes go through putRaw and deleteRaw, which drop the record they replace.
//   - Of passwords and tokens that others log in with, only hashes are kept. Kept in the clear are
//     the texts of tunnel configs with their private keys, the keys of meshes, nodes and links, the
//     files of package certs with the keys of the CA, of TLS certificates and of ACME accounts, and
//     the appliance's client id at EMQX, with which one could take over its session there. The data
//     file must be readable by its owner only.
package store
