// Package lint holds our own rules about the code as tests, so that `make check` and CI can fail on
// them. It ships nothing.
package lint
