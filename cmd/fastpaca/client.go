package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// clientWait bounds one request of a command: longer than a node takes to answer 503 (3 s), and to ask the others.
	clientWait = 10 * time.Second
	// clientBytes bounds an answer: the status of 256 shards is 40 KB.
	clientBytes = 16 << 20
)

// client asks a running node.
type client struct {
	base string
	key  string
	http http.Client
}

// clientFlags are the flags of every command that asks a node. The environment that a server on this machine runs
// with gives the defaults, so that the commands work as they are in its container.
type clientFlags struct {
	addr *string
	key  *string
}

func newClientFlags(fs *flag.FlagSet) clientFlags {
	return clientFlags{
		addr: fs.String("addr", defaultURL(os.Getenv("FASTPACA_LISTEN")), "`URL` of a node"),
		key:  fs.String("api-key", "", "bearer token, where the node asks for one; default: FASTPACA_API_KEY"),
	}
}

// client checks the flags.
func (f clientFlags) client() (*client, error) {
	base := *f.addr
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--addr %q is not the URL of a node, such as http://127.0.0.1:4000", *f.addr)
	}
	key := *f.key
	if key == "" {
		key = os.Getenv("FASTPACA_API_KEY")
	}
	return &client{base: u.Scheme + "://" + u.Host, key: key, http: http.Client{Timeout: clientWait}}, nil
}

// defaultURL is where a server with this FASTPACA_LISTEN can be asked from its own machine.
func defaultURL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		host, port = "", "4000"
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// refusal is an answer other than 2xx: what the node says in words.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// do sends a request and returns the body of a 2xx answer.
func (c *client) do(method, path string) ([]byte, error) {
	req, err := http.NewRequest(method, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer from the node: %w", errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, clientBytes))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s broke off: %w", c.base, err)
	}
	if resp.StatusCode/100 == 2 {
		return body, nil
	}
	var said struct{ Message, Status, Reason string }
	_ = json.Unmarshal(body, &said) // whatever else it is, is shown as it is
	switch {
	case said.Message != "":
	case said.Status != "":
		said.Message = said.Status + ": " + said.Reason
	default:
		said.Message = fmt.Sprintf("%s answered %s: %.200q", c.base, resp.Status, body)
	}
	return nil, &refusal{resp.StatusCode, said.Message}
}

// parseArgs parses flags before and after the arguments, of which there must be so many. done says that the command
// is over, with code: 0 after -h, 2 after a mistake.
func parseArgs(fs *flag.FlagSet, args []string, count int) (rest []string, code int, done bool) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, 0, true
			}
			return nil, 2, true
		}
		if fs.NArg() == 0 {
			break
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
	if len(rest) != count {
		fs.Usage()
		return nil, 2, true
	}
	return rest, 0, false
}
