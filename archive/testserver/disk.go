package testserver

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// SmallDisk puts the messages of a database onto a file system of their own, which holds a few megabytes, and returns a
// function that makes it large. The test is skipped where it may not mount one: without root in a container there is no
// disk to fill.
func (p *Postgres) SmallDisk(t *testing.T, database string) (grow func()) {
	t.Helper()
	if p.cred == nil {
		t.Skip("mounting a small disk needs root")
	}
	dir := filepath.Join(p.dir, "disk-"+database)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	// Detached: the mount goes away at once, the memory when Postgres has closed the files.
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := os.Chown(dir, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
		t.Fatal(err)
	}
	space := "space_" + database
	p.Exec(t, database, "CREATE TABLESPACE "+space+" LOCATION '"+dir+"'", "ALTER TABLE messages SET TABLESPACE "+space)
	t.Cleanup(func() { p.Exec(t, database, "DROP TABLE messages", "DROP TABLESPACE "+space) })
	return func() {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
			t.Fatal(err)
		}
	}
}
