package wal

import "fastpaca/wal/walfs"

// FS is the file system below the log; see package walfs for its rules and its three implementations.
type FS = walfs.FS

// File is an open file of an FS.
type File = walfs.File

// OS returns the operating system's file system.
func OS() FS { return walfs.OS() }
