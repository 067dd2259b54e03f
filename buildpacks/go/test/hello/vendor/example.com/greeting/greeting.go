// Package greeting has words of welcome.
package greeting

// Of greets somebody.
func Of(who string) string { return "hello " + who }
