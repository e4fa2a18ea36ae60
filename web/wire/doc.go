// Package wire reads the API's requests and writes its answers.
//
// It owns the decoding of bodies and pages ([ReadBody], [Fields], [ReadPage]), the rules for
// strings ([Rule]), the envelope of answers ([Respond]), the table of errors and their answers
// ([Translate]), and the type of a route ([Route]), of which package openapi makes the description.
// It owns no call: each call is declared beside its handler. It decides nothing about a node, a
// mesh or a login.
//
// Enter at [Route] and [ReadBody].
//
// Invariants:
//   - Only [Translate] turns the error of a call into a status, a code and a sentence. It answers an
//     error that it does not know with INTERNAL_ERROR; the text of such an error never leaves the
//     appliance. Health checks and the system status have their own sentences about the store.
//   - One answer names every fault of a request.
//   - No error and no log holds a value of a body.
package wire
