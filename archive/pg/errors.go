package pg

import (
	"context"
	"errors"
	"fmt"

	"fastpaca/archive"
)

// failed gives err its kind. ctx is what the operation ran under.
func (s *Store) failed(op string, ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case archive.Kind(err) != "other":
		return fmt.Errorf("postgres, %s: %w", op, err)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("postgres, %s: %w", op, ctx.Err())
	}
	hint, kind := classify(pgCode(err))
	return fmt.Errorf("postgres, %s: %w%s: %w", op, kind, hint, err)
}

// classify sorts SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html). Errors that are not
// Postgres' own come from the network.
func classify(code string) (hint string, kind error) {
	class := code
	if len(code) == 5 {
		class = code[:2]
	}
	switch {
	case class == "28", code == "42501":
		return " (check the user, its password and its rights in DATABASE_URL)", archive.ErrDenied
	case code == "42P01", code == "42703", code == "3F000":
		return " (start one node with MIGRATE_ON_BOOT=true, or apply the migrations by hand)", archive.ErrNotReady
	case code == "3D000":
		return " (create the database that DATABASE_URL names)", archive.ErrNotReady
	case code == "53100":
		return " (its disk)", archive.ErrFull
	case code == "25006":
		return " (it is read-only: a standby, or in maintenance)", archive.ErrUnavailable
	case class == "22", class == "23", class == "42", class == "54":
		return " (was the table changed?)", archive.ErrRefused
	}
	return "", archive.ErrUnavailable
}
