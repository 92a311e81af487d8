// Package deploy has no code: only a test that the files here say the same as the server does.
package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert/yaml"
)

// object is a parsed YAML mapping.
type object = map[string]any

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// at walks down mappings by key and lists by position; nil where the path ends early.
func at(v any, path ...any) any {
	for _, p := range path {
		switch key := p.(type) {
		case string:
			o, _ := v.(object)
			v = o[key]
		case int:
			l, _ := v.([]any)
			if key >= len(l) {
				return nil
			}
			v = l[key]
		}
	}
	return v
}

func want(t *testing.T, v any, value any, path ...any) {
	t.Helper()
	if got := at(v, path...); got != value {
		t.Errorf("%v is %v, want %v", path, got, value)
	}
}

// kubernetes returns the objects of kubernetes.yaml by kind and name.
func kubernetes(t *testing.T) map[string]object {
	t.Helper()
	list := map[string]object{}
	for _, doc := range strings.Split(read(t, "kubernetes.yaml"), "\n---\n") {
		o := parse(t, doc)
		list[at(o, "kind").(string)+"/"+at(o, "metadata", "name").(string)] = o
	}
	return list
}

func TestKubernetes(t *testing.T) {
	all := kubernetes(t)
	if len(all) != 4 {
		t.Fatalf("%d objects", len(all))
	}
	peers, set, budget := all["Service/fastpaca-peers"], all["StatefulSet/fastpaca"], all["PodDisruptionBudget/fastpaca"]
	// Nobody is ready before the nodes have found one another: their names must resolve, and all must start, before.
	want(t, peers, true, "spec", "publishNotReadyAddresses")
	want(t, peers, "None", "spec", "clusterIP")
	want(t, set, "Parallel", "spec", "podManagementPolicy")
	want(t, set, "fastpaca-peers", "spec", "serviceName")
	want(t, budget, 1, "spec", "maxUnavailable")
	for _, o := range all {
		for _, path := range [][]any{{"spec", "selector"}, {"spec", "selector", "matchLabels"}} {
			if sel, ok := at(o, path...).(object); ok && len(sel) == 1 && sel["matchLabels"] == nil {
				want(t, sel, "fastpaca", "app.kubernetes.io/name")
			}
		}
		want(t, o, "fastpaca", "metadata", "labels", "app.kubernetes.io/name")
		if o["kind"] == "Service" {
			want(t, o, 4000, "spec", "ports", 0, "port")
			want(t, o, "http", "spec", "ports", 0, "targetPort")
		}
	}
	want(t, set, "fastpaca", "spec", "template", "metadata", "labels", "app.kubernetes.io/name")

	pod := at(set, "spec", "template", "spec")
	// More than the server's 15 s for a stop, so that it is never cut off.
	if grace, _ := at(pod, "terminationGracePeriodSeconds").(int); grace < 30 {
		t.Errorf("terminationGracePeriodSeconds %d", grace)
	}
	want(t, pod, true, "securityContext", "runAsNonRoot")
	want(t, pod, 65532, "securityContext", "runAsUser")
	c := at(pod, "containers", 0)
	want(t, c, "/health/live", "livenessProbe", "httpGet", "path")
	want(t, c, "/health/live", "startupProbe", "httpGet", "path")
	want(t, c, "/health/ready", "readinessProbe", "httpGet", "path")
	want(t, c, 4000, "ports", 0, "containerPort")
	want(t, c, "/data", "volumeMounts", 0, "mountPath")
	want(t, c, true, "securityContext", "readOnlyRootFilesystem")
	want(t, set, at(c, "volumeMounts", 0, "name"), "spec", "volumeClaimTemplates", 0, "metadata", "name")
	env := map[string]any{}
	for _, e := range at(c, "env").([]any) {
		env[at(e, "name").(string)] = at(e, "value")
	}
	want(t, env, "fastpaca-peers:4000", "FASTPACA_CLUSTER_SEED")
	want(t, env, "$(POD_NAME).fastpaca-peers:4000", "FASTPACA_ADVERTISE")
}

func TestCompose(t *testing.T) {
	o := parse(t, read(t, "compose.yaml"))
	services, _ := at(o, "services").(object)
	if len(services) != 3 {
		t.Fatalf("%d services", len(services))
	}
	for name, s := range services {
		want(t, s, name, "environment", "FASTPACA_NODE_NAME")
		want(t, s, name+":4000", "environment", "FASTPACA_ADVERTISE")
		if seeds, _ := at(s, "environment", "FASTPACA_CLUSTER_SEED").(string); !strings.Contains(seeds, name+":4000") || strings.Count(seeds, ",") != 2 {
			t.Errorf("%s: seeds %q", name, seeds)
		}
		want(t, s, "deploy/Dockerfile", "build", "dockerfile")
		want(t, s, true, "read_only")
		volume, _ := at(s, "volumes", 0).(string)
		data, dir, _ := strings.Cut(volume, ":")
		if _, declared := at(o, "volumes").(object)[data]; !declared || dir != "/data" {
			t.Errorf("%s: volume %q", name, volume)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	var goVersion string
	if m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod")); m != nil {
		goVersion = m[1]
	}
	for _, line := range []string{
		"golang:" + goVersion + " AS build", "CGO_ENABLED=0", "\nFROM scratch\n", "\nUSER 65532:65532\n", "\nVOLUME /data\n", "\nEXPOSE 4000\n",
		"\nENV FASTPACA_RAFT_DATA_DIR=/data\n", "\nENTRYPOINT [\"/fastpaca\"]\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("Dockerfile lacks %q", line)
		}
	}
	// Every package that the binary is made of is let into the build.
	ignore := read(t, "Dockerfile.dockerignore")
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "../cmd/fastpaca").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if pkg, ours := strings.CutPrefix(path, "fastpaca/"); ours {
			top, _, _ := strings.Cut(pkg, "/")
			if !strings.Contains(ignore, "\n!"+top+"\n") && !strings.Contains(ignore, "\n!"+pkg+"\n") {
				t.Errorf("Dockerfile.dockerignore keeps package %s out", pkg)
			}
		}
	}
}

// TestVariablesExist: a variable that the server does not know would be ignored without a word.
func TestVariablesExist(t *testing.T) {
	known := read(t, "../docs/configuration.md")
	files, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, v := range regexp.MustCompile(`FASTPACA_[A-Z_]+`).FindAllString(read(t, name), -1) {
			found++
			if v != "FASTPACA_PORT" && !strings.Contains(known, "`"+v+"`") {
				t.Errorf("%s: %s is not in docs/configuration.md", name, v)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d variables found: the pattern is broken", found)
	}
}

func TestSystemd(t *testing.T) {
	text := read(t, "fastpaca.service")
	for _, line := range []string{
		"\nExecStart=/usr/local/bin/fastpaca server\n", "\nUser=fastpaca\n", "\nStateDirectory=fastpaca\n",
		"\nEnvironment=FASTPACA_RAFT_DATA_DIR=/var/lib/fastpaca\n", "\nRestartPreventExitStatus=2\n", "\nNoNewPrivileges=yes\n", "\nProtectSystem=strict\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("fastpaca.service lacks %q", line)
		}
	}
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	// A copy whose binary exists, so that only mistakes are left to complain about.
	unit := filepath.Join(t.TempDir(), "fastpaca.service")
	copied := strings.Replace(text, "/usr/local/bin/fastpaca server", "/bin/true", 1)
	if err := os.WriteFile(unit, []byte(copied), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "verify", unit).CombinedOutput()
	if err != nil && bytes.Contains(out, []byte("Failed to")) && !bytes.Contains(out, []byte("fastpaca.service")) {
		t.Skipf("systemd-analyze does not work here: %s", out)
	}
	if err != nil || bytes.Contains(out, []byte("fastpaca.service")) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestOperations: what docs/operations.md names exists.
func TestOperations(t *testing.T) {
	text := read(t, "../docs/operations.md")
	known := read(t, "../docs/configuration.md")
	for _, v := range regexp.MustCompile(`FASTPACA_[A-Z_]+`).FindAllString(text, -1) {
		if !strings.Contains(known, "`"+v+"`") {
			t.Errorf("%s is not in docs/configuration.md", v)
		}
	}
	var source strings.Builder
	for _, pattern := range []string{"../cmd/fastpaca/*.go", "../httpd/*.go", "../cluster/*.go", "../cluster/peer/*.go", "../shard/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				source.WriteString(read(t, name))
			}
		}
	}
	for _, m := range regexp.MustCompile("`(fastpaca_[a-z_]+)[{`]").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(source.String(), m[1]) {
			t.Errorf("there is no series %s", m[1])
		}
	}
	// Events, reasons and codes: `word_word` in the chapter for the night.
	night := text[strings.Index(text, "\n## At 3 a.m."):]
	words := regexp.MustCompile("`([a-z]+_[a-z_]+)`").FindAllStringSubmatch(night, -1)
	if len(words) < 40 {
		t.Errorf("only %d names found: the pattern is broken", len(words))
	}
	fields := map[string]bool{"context_id": true}
	for _, m := range words {
		if !strings.HasPrefix(m[1], "fastpaca_") && !fields[m[1]] && !strings.Contains(source.String(), `"`+m[1]+`"`) {
			t.Errorf("nothing in the server says %q", m[1])
		}
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		// As GitHub makes them.
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(plain, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(#([a-z0-9-]+)\)`).FindAllStringSubmatch(text, -1) {
		if !anchors[m[1]] {
			t.Errorf("no heading for #%s", m[1])
		}
	}
}
