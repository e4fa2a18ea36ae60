// Package storetest makes a real store fail in tests of the packages that use one: for want of room, or
// since a record is damaged.
//
// Enter at [Fill] and [Damage]; [Subscriptions] tells what is left behind.
package storetest
