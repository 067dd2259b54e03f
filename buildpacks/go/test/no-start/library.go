// Package library has nothing to start.
package library
