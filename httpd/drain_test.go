package httpd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDrain(t *testing.T) {
	o := loadOpenAPI(t)
	c := newTestCluster(t, 1, func(cfg *Config) { cfg.APIKey = "key" })
	g := c.nodes[0]
	g.refused(401, "unauthorized", "POST", "/v1/cluster/nodes/n1/drain", "")
	g.auth = "key"
	f := func(verb string) func(status int, code, name string) {
		return func(status int, code, name string) {
			t.Helper()
			path := "/v1/cluster/nodes/" + name + "/" + verb
			a := g.do("POST", path, "")
			if code != "" {
				g.isError(a, status, code)
			}
			require.Equal(t, status, a.status, a.body)
			o.checkAnswer(t, "POST", "/v1/cluster/nodes/{name}/"+verb, a.status, a.header.Get("Content-Type"), []byte(a.body))
		}
	}
	for _, verb := range []string{"drain", "undrain"} {
		f := f(verb)
		f(202, "", "n1")
		f(202, "", "%6e1")
		f(404, "node_not_found", "n2")
		f(404, "node_not_found", "")
		f(404, "node_not_found", "%00")
		f(409, "drain_refused", "alone")
		f(503, "unavailable", "leaderless")
		g.refused(405, "method_not_allowed", "GET", "/v1/cluster/nodes/n1/"+verb, "")
	}
	require.JSONEq(t, `{"node":"n1","state":"draining"}`, g.ok(202, "POST", "/v1/cluster/nodes/n1/drain", ""))
	require.JSONEq(t, `{"node":"n1","state":"active"}`, g.ok(202, "POST", "/v1/cluster/nodes/n1/undrain", ""))
	g.refused(404, "not_found", "POST", "/v1/cluster/nodes/n1", "")
	g.refused(404, "not_found", "POST", "/v1/cluster/nodes/n1/other", "")
	require.Equal(t, `{"node":"n1"}`, g.ok(200, "GET", "/v1/cluster", ""), "the Router's own words")
}

func TestDrainOfANodeAlone(t *testing.T) {
	g := newRig(t, func(cfg *Config) { cfg.NodeName = "only one" })
	g.refused(409, "drain_refused", "POST", "/v1/cluster/nodes/only%20one/drain", "")
	g.refused(404, "node_not_found", "POST", "/v1/cluster/nodes/other/drain", "")
}
