// Command perturb, run at the root of the module, copies it and puts pauses of 1 to 25 ms, at odds, before every statement of the product
// in which two goroutines can meet. Tests that run on the copy see orders of events that a quiet machine shows
// once in years: a race between a state and the count of it, a wake that comes before the sleep, a lock that is
// tried at the wrong moment. `make perturb` runs them; jepsen/README.md says what was found so.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"fastpaca/jepsen/perturb/delay"
)

// product is what gets pauses: all that runs goroutines, and what they call. raft is left out: it is pure step
// functions, where a pause changes nothing.
const product = "archive,cluster,cmd/fastpaca,httpd,ring,shard,wal"

func main() {
	out := flag.String("out", "", "where the copy goes; what is there is removed")
	dirs := flag.String("dirs", product, "directories whose code gets pauses, with all below them")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	files, places, err := perturb(".", *out, strings.Split(*dirs, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "perturb:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d places in %d files\n", *out, places, files)
}

// perturb copies the files that git knows below from (changes that are not committed included) to out, with
// pauses in those of dirs.
func perturb(from, out string, dirs []string) (files, places int, err error) {
	listed, err := exec.Command("git", "-C", from, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return 0, 0, fmt.Errorf("list the files of %s: %w", from, err)
	}
	if err := os.RemoveAll(out); err != nil {
		return 0, 0, err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
		info, err := os.Lstat(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed so
		}
		if err != nil {
			return 0, 0, err
		}
		if !info.Mode().IsRegular() {
			return 0, 0, fmt.Errorf("%s: not a regular file, which perturb cannot copy", name)
		}
		src, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return 0, 0, err
		}
		if inside(name, dirs) {
			changed, n, err := rewrite(name, src, places)
			if err != nil {
				return 0, 0, err
			}
			if places += n; places > delay.Sites {
				return 0, 0, fmt.Errorf("more than %d places: raise delay.Sites", delay.Sites)
			}
			if n > 0 {
				files++
			}
			src = changed
		}
		if err := write(filepath.Join(out, name), src, info.Mode().Perm()); err != nil {
			return 0, 0, err
		}
	}
	return files, places, nil
}

// inside says whether name is product code of one of dirs.
func inside(name string, dirs []string) bool {
	if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
		return false
	}
	for _, d := range dirs {
		if strings.HasPrefix(name, strings.Trim(d, "/")+"/") {
			return true
		}
	}
	return false
}

func write(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}
