//go:build !linux

package httpd

import (
	"net"
	"time"
)

// setUserTimeout has no portable equivalent: a dead SSE client is noticed by TCP keep-alive.
func setUserTimeout(net.Conn, time.Duration) {}
