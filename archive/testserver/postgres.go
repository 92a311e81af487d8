package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a server with a superuser "postgres" who needs a password. Its settings are the product's defaults, fsync
// included: a benchmark against it is honest.
type Postgres struct {
	dir  string
	bin  string
	port int
	cred *syscall.Credential
	proc *process
	thaw func() // ends a Freeze; nil: there was none
	n    atomic.Int64
}

// Password of the superuser.
const Password = "correct horse battery staple"

// StartPostgres starts a server of its own. Stop ends it.
func StartPostgres() (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := scratch("fastpaca-pg-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, bin: bin, cred: cred}
	if err = p.init(); err == nil {
		err = p.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return p, nil
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) init() error {
	if p.cred != nil {
		if err := os.Chown(p.dir, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
			return err
		}
	}
	pw := filepath.Join(p.dir, "password")
	if err := os.WriteFile(pw, []byte(Password+"\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(p.bin, "initdb"), "-D", p.data(), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
		"-A", "scram-sha-256", "--pwfile="+pw, "--no-sync")
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %v\n%s", err, out)
	}
	return nil
}

// Start starts the server again after Kill or Stop, on the same port.
func (p *Postgres) Start() error {
	for try := 0; ; try++ {
		port := p.port
		if port == 0 {
			var err error
			if port, err = FreePort(); err != nil {
				return err
			}
		}
		cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.data(), "-p", strconv.Itoa(port), "-k", p.dir,
			"-c", "listen_addresses=127.0.0.1")
		cmd.Dir = p.dir
		// SIGQUIT is Postgres' immediate shutdown: all of its processes end, nothing is written any more.
		proc, err := spawn(cmd, p.cred, syscall.SIGQUIT)
		if err == nil {
			err = proc.await("postgres", func() error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				conn, err := pgx.Connect(ctx, connString("postgres", Password, port, "postgres"))
				if err != nil {
					return err
				}
				return conn.Close(ctx)
			})
			if err != nil {
				proc.stop(syscall.SIGQUIT)
			}
		}
		if err == nil {
			p.proc, p.port = proc, port
			return nil
		}
		if try == 2 {
			return err
		}
	}
}

// Kill ends the server as a crash does: nothing is flushed, transactions under way are lost.
func (p *Postgres) Kill() {
	if p.thaw != nil {
		p.thaw()
	}
	p.proc.stop(syscall.SIGQUIT)
}

// Stop ends the server and removes its data.
func (p *Postgres) Stop() {
	p.Kill()
	_ = os.RemoveAll(p.dir)
}

// Log returns the last lines that the server logged.
func (p *Postgres) Log() string { return p.proc.out.String() }

// Addr returns host and port.
func (p *Postgres) Addr() string { return "127.0.0.1:" + strconv.Itoa(p.port) }

// URL returns the connection string of a database, as DATABASE_URL has it.
func (p *Postgres) URL(database string) string {
	return connString("postgres", Password, p.port, database)
}

func connString(name, password string, port int, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s", name, strings.ReplaceAll(password, " ", "%20"), port, database)
}

// NewDatabase makes an empty database for one test and returns its name.
func (p *Postgres) NewDatabase(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", p.n.Add(1))
	p.Exec(t, "postgres", "CREATE DATABASE "+name)
	return name
}

// Exec runs statements as the superuser.
func (p *Postgres) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// unprivileged returns whom to run Postgres as: nil, this user, unless that is root, whom Postgres refuses.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range [...]string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("postgres does not run as root, and there is no user postgres or nobody to run it as")
}

// installOnce is a lock of this process; apt-get has its own between processes.
var installOnce sync.Mutex

// postgresBin finds the directory of the newest installed version, and installs one where there is none.
func postgresBin() (string, error) {
	installOnce.Lock()
	defer installOnce.Unlock()
	if dir := findPostgres(); dir != "" {
		return dir, nil
	}
	const advice = "the tests need PostgreSQL's server binaries: apt-get install postgresql (or your system's package)"
	if os.Getuid() != 0 {
		return "", fmt.Errorf("no postgres in /usr/lib/postgresql/*/bin or PATH; %s", advice)
	}
	for _, args := range [...][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get %s: %v; %s\n%s", strings.Join(args, " "), err, advice, out)
		}
	}
	if dir := findPostgres(); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("apt-get installed postgresql, but there is no /usr/lib/postgresql/*/bin/postgres; %s", advice)
}

func findPostgres() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
	if len(found) > 0 {
		return filepath.Dir(found[0])
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "initdb")); err == nil {
			return filepath.Dir(path)
		}
	}
	return ""
}
