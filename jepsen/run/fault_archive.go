package main

import (
	"context"
	"fmt"
	"time"
)

// Faults of the archive's Postgres. No client may notice: an archive that is away slows no append.

func killPostgres(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	n.pg.server.Kill()
	wait(ctx, held)
	return "Postgres crashed and started again", n.pg.server.Start()
}

func slowPostgres(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	d := 50 * time.Millisecond << n.dice.IntN(5)
	n.pg.wire.Slow(d)
	wait(ctx, held)
	n.pg.wire.Slow(0)
	return fmt.Sprintf("each piece on the way to Postgres and back %s late", d), nil
}

func cutPostgres(n *nemesis, ctx context.Context, held time.Duration) (string, error) {
	n.pg.wire.Refuse(true)
	wait(ctx, held)
	n.pg.wire.Refuse(false)
	return "no way to Postgres", nil
}
