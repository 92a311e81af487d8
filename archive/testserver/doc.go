// Package testserver starts the real servers that the archive's tests run against: Postgres from the system's
// binaries, the S3 server versitygw as the Go toolchain builds it, and proxies that make the way to them bad.
//
// Nothing of it is a mock, and a test that needs a server fails, rather than being skipped, where it cannot be had. On a
// machine without Postgres a test that runs as root installs it with apt-get; otherwise the failure says what to install.
// Servers listen on 127.0.0.1, keep their data in a temporary directory, and die with the process that started them,
// however it ends.
package testserver
