// Package apptest runs the real programs for tests of the whole system: it builds wfm and wfm-agent
// once, starts them as processes, and calls the API.
//
// It owns processes and waiting for them. It does not own expectations; those are the tests'.
//
// Enter at [Main], then [Start], [Appliance.StartAgent], [Appliance.Call].
package apptest
