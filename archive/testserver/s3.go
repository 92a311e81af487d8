package testserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// versitygw is pinned, so that every machine tests against the same server.
const (
	versitygwModule  = "github.com/versity/versitygw/cmd/versitygw"
	versitygwVersion = "v1.8.0"
)

// Credentials of the S3 server's root user.
const (
	AccessKey = "fastpaca-test"
	SecretKey = "correct-horse-battery-staple"
	Region    = "us-east-1"
)

// S3 is a versitygw over a directory.
type S3 struct {
	dir  string
	bin  string
	port int
	proc *process
	n    atomic.Int64
}

// StartS3 starts a server of its own. Stop ends it.
func StartS3() (*S3, error) {
	bin, err := versitygw()
	if err != nil {
		return nil, err
	}
	dir, err := scratch("fastpaca-s3-")
	if err != nil {
		return nil, err
	}
	s := &S3{dir: dir, bin: bin}
	for _, name := range [...]string{"root", "iam"} {
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, name), 0o755)
		}
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// Start starts the server again after Kill, on the same port.
func (s *S3) Start() error {
	for try := 0; ; try++ {
		port := s.port
		if port == 0 {
			var err error
			if port, err = FreePort(); err != nil {
				return err
			}
		}
		addr := "127.0.0.1:" + strconv.Itoa(port)
		cmd := exec.Command(s.bin, "--port", addr, "--access", AccessKey, "--secret", SecretKey, "--region", Region,
			"--keep-alive", "--quiet", "--iam-dir", filepath.Join(s.dir, "iam"), "posix", filepath.Join(s.dir, "root"))
		cmd.Dir = s.dir
		proc, err := spawn(cmd, nil, syscall.SIGKILL)
		if err == nil {
			err = proc.await("versitygw", func() error {
				c, err := net.DialTimeout("tcp", addr, time.Second)
				if err == nil {
					err = c.Close()
				}
				return err
			})
			if err != nil {
				proc.stop(syscall.SIGKILL)
			}
		}
		if err == nil {
			s.proc, s.port = proc, port
			return nil
		}
		if try == 2 {
			return err
		}
	}
}

// Kill ends the server at once.
func (s *S3) Kill() { s.proc.stop(syscall.SIGKILL) }

// Stop ends the server and removes its data.
func (s *S3) Stop() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// Addr returns host and port.
func (s *S3) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// NewBucket makes an empty bucket for one test and returns its name.
func (s *S3) NewBucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test-%d", s.n.Add(1))
	if err := s.Client(t).MakeBucket(context.Background(), name, minio.MakeBucketOptions{Region: Region}); err != nil {
		t.Fatal(err)
	}
	return name
}

// Client returns a client of the root user, for tests that look behind the adapter.
func (s *S3) Client(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(s.Addr(), &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: Region})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// versitygw returns the path of the pinned version's binary, built into the user's cache where it is not there yet.
func versitygw() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "fastpaca", "tools", "versitygw-"+versitygwVersion)
	bin := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Several test binaries may find it missing at the same time: one builds, the others wait.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "install", versitygwModule+"@"+versitygwVersion)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the tests need the S3 server versitygw: go install %s@%s: %v (no network? build it elsewhere and put it at %s)\n%s",
			versitygwModule, versitygwVersion, err, bin, out)
	}
	return bin, os.Rename(filepath.Join(tmp, "versitygw"), bin)
}

// NewUser makes a user that owns nothing and may do nothing, and returns its keys.
func (s *S3) NewUser(t testing.TB) (access, secret string) {
	t.Helper()
	access, secret = fmt.Sprintf("user-%d", s.n.Add(1)), "letmein-letmein"
	cmd := exec.Command(s.bin, "admin", "--access", AccessKey, "--secret", SecretKey, "--endpoint-url", "http://"+s.Addr(),
		"create-user", "--access", access, "--secret", secret, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("creating a user: %v\n%s", err, out)
	}
	return access, secret
}
