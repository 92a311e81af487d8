package testserver

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestPostgresSurvivesAKill: a committed row is there after Kill and Start, on the same address.
func TestPostgresSurvivesAKill(t *testing.T) {
	p, err := StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	db := p.NewDatabase(t)
	p.Exec(t, db, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7)")
	p.Kill()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(context.Background(), p.URL(db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(context.Background(), "SELECT n FROM t").Scan(&n); err != nil || n != 7 {
		t.Fatal(n, err)
	}
}

func TestS3SurvivesAKill(t *testing.T) {
	s, err := StartS3()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	b := s.NewBucket(t)
	s.Kill()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Client(t).BucketExists(context.Background(), b); !ok || err != nil {
		t.Fatal(ok, err)
	}
}

const helper = "FASTPACA_TESTSERVER_HELPER"

// TestServersDieWithUs starts servers in another process and kills that: nothing may stay behind.
func TestServersDieWithUs(t *testing.T) {
	if os.Getenv(helper) != "" {
		p, err := StartPostgres()
		if err != nil {
			t.Fatal(err)
		}
		s, err := StartS3()
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("PIDS " + strconv.Itoa(p.proc.cmd.Process.Pid) + " " + strconv.Itoa(s.proc.cmd.Process.Pid) + "\n")
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServersDieWithUs$")
	cmd.Env = append(os.Environ(), helper+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	var text string
	for !strings.Contains(text, "PIDS") || !strings.HasSuffix(text, "\n") {
		n, err := out.Read(buf)
		text += string(buf[:n])
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, f := range strings.Fields(text[strings.Index(text, "PIDS")+4:]) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) != syscall.ESRCH; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
	// The next server removes what the killed process left in the file system.
	s, err := StartS3()
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
}
