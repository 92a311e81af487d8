package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Memory is what a process holds, in bytes.
type Memory struct {
	RSS int64 // resident now (VmRSS)
	HWM int64 // resident at the most (VmHWM)
}

// IO is what a process moved, in bytes, since it started.
type IO struct {
	ReadChars  int64 // by read system calls, from the page cache or not (rchar)
	WriteChars int64 // by write system calls (wchar)
	ReadDisk   int64 // fetched from the device (read_bytes)
	// WriteDisk is write_bytes: bytes of page cache made dirty. Where a file system has large folios (ext4 since Linux
	// 6.16) it counts the whole folio at every write and says nothing of what goes to the device: use DeviceWritten.
	WriteDisk int64
}

// userHz is the unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go supports.
const userHz = 100

// CPU is the processor time that process pid has used, user and system, all threads; resolution 10 ms.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("cpu of %d: %w", pid, err)
	}
	return parseStat(b)
}

// parseStat reads utime and stime, fields 14 and 15 of the line; the second field may hold spaces and parentheses.
func parseStat(b []byte) (time.Duration, error) {
	at := bytes.LastIndexByte(b, ')')
	if at < 0 {
		return 0, fmt.Errorf("bad stat line %q", b)
	}
	f := strings.Fields(string(b[at+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("bad stat line %q", b)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("bad stat line: %w", err)
	}
	return time.Duration(user+system) * time.Second / userHz, nil
}

// Mem is the memory of process pid.
func Mem(pid int) (Memory, error) {
	f, err := keyed(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, err
	}
	return Memory{RSS: f["VmRSS"] << 10, HWM: f["VmHWM"] << 10}, nil
}

// Disk is the input and output of process pid.
func Disk(pid int) (IO, error) {
	f, err := keyed(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return IO{}, err
	}
	return IO{ReadChars: f["rchar"], WriteChars: f["wchar"], ReadDisk: f["read_bytes"], WriteDisk: f["write_bytes"]}, nil
}

// keyed reads a file of "name: number ..." lines; lines without a number are left out.
func keyed(path string) (map[string]int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	m := map[string]int64{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		name, rest, ok := strings.Cut(sc.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		if v, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			m[name] = v
		}
	}
	return m, nil
}

// DropCaches makes the next reads of the files under dir come from the device: through the kernel's switch where
// this process may use it, file by file otherwise. It says which.
func DropCaches(dir string) (how string, err error) {
	syscall.Sync() // dirty pages cannot be dropped
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1\n"), 0); err == nil {
		return "drop_caches", nil
	}
	const fadvDontNeed = 4
	err = eachFile(dir, func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, fadvDontNeed, 0, 0); e != 0 {
			return fmt.Errorf("fadvise %s: %w", path, e)
		}
		return nil
	})
	return "fadvise", err
}

// ReadAll reads every file under dir from beginning to end in pieces of 1 MiB, as the kernel's read-ahead likes it
// best, and returns how much that was and how long it took: what any recovery has to do at the least.
func ReadAll(dir string) (n int64, took time.Duration, err error) {
	buf := make([]byte, 1<<20)
	start := time.Now()
	err = eachFile(dir, func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			k, err := f.Read(buf)
			n += int64(k)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	return n, time.Since(start), err
}

// Size is the number of bytes that the files under dir occupy by their length.
func Size(dir string) (n int64, err error) {
	err = eachFile(dir, func(path string) error {
		fi, err := os.Stat(path)
		if err == nil {
			n += fi.Size()
		}
		return err
	})
	return n, err
}

// eachFile calls f for every regular file under dir. A file that vanishes meanwhile is skipped.
func eachFile(dir string, f func(path string) error) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = f(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("files of %s: %w", dir, err)
	}
	return nil
}

const tmpfsMagic = 0x01021994

// InMemory reports whether dir lies on a file system without a disk, where an fsync costs nothing and says nothing.
func InMemory(dir string) bool {
	var st syscall.Statfs_t
	return syscall.Statfs(dir, &st) == nil && int64(st.Type) == tmpfsMagic
}

// DeviceWritten is the number of bytes written so far to the block device that dir lies on, by everyone. It fails
// where the file system has no device of its own that the kernel keeps count of.
func DeviceWritten(dir string) (int64, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("device of %s: %w", dir, err)
	}
	major, minor := st.Dev>>8&0xfff|st.Dev>>32&^0xfff, st.Dev&0xff|st.Dev>>12&^0xff
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", major, minor))
	if err != nil {
		return 0, fmt.Errorf("device of %s: %w", dir, err)
	}
	f := strings.Fields(string(b))
	if len(f) < 7 {
		return 0, fmt.Errorf("device of %s: bad stat %q", dir, b)
	}
	const sector = 512 // the unit of this file, whatever the device's own
	n, err := strconv.ParseInt(f[6], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("device of %s: %w", dir, err)
	}
	return n * sector, nil
}
