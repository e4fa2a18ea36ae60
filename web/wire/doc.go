// Package wire is the language that the API speaks: how a request is read, how it is answered, and how both are described.
//
// It owns the decoding of bodies and pages ([ReadBody], [Fields], [ReadPage]), the rules for strings ([Rule]), the envelope of
// answers ([Respond]), the table of errors and their answers ([Translate]), what a route is ([Route]), and the API's description
// in OpenAPI ([Describe]). It does not own any call: those stand in the rooms of the API, each with its handler. It decides
// nothing about a node, a config or a login.
//
// Enter at [Route] and [ReadBody].
//
// Invariants:
//   - [Translate] is the only place where an error becomes a status, a code and a sentence. An error it does not know is answered
//     INTERNAL_ERROR; its text never leaves the appliance.
//   - One answer names every fault of a request.
//   - A body's values stand in no error and no log.
package wire
