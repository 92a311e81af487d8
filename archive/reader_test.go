package archive_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"fastpaca/archive"
	"fastpaca/archive/conformance"
)

func TestReader(t *testing.T) {
	onBoth(t, func(t *testing.T, open func() archive.Store) {
		store := open()
		var rows []archive.Row
		for seq := uint64(1); seq <= 100; seq++ {
			if seq != 51 {
				rows = append(rows, conformance.Row("c", seq))
			}
		}
		if _, err := store.Put(context.Background(), rows); err != nil {
			t.Fatal(err)
		}
		text := func(from, to uint64) string {
			var list []string
			for seq := from; seq <= to; seq++ {
				list = append(list, string(conformance.Row("c", seq).Message))
			}
			return strings.Join(list, ",")
		}
		r := archive.NewReader(store)
		for _, c := range []struct {
			from, to, next uint64
			max            int
		}{{1, 10, 11, 1 << 20}, {40, 100, 51, 1 << 20}, {51, 60, 51, 1 << 20}, {52, 100, 101, 1 << 20}, {95, 300, 101, 1 << 20}, {7, 9, 8, 1}, {9, 8, 9, 1}} {
			got, next, err := r.Append([]byte("before:"), []byte("c"), c.from, c.to, c.max)
			for deadline := time.Now().Add(patience); errors.Is(err, archive.ErrUnavailable) && time.Now().Before(deadline); {
				got, next, err = r.Append([]byte("before:"), []byte("c"), c.from, c.to, c.max) // a read gets 5 s
			}
			if want := "before:" + text(c.from, c.next-1); err != nil || next != c.next || string(got) != want {
				t.Errorf("%d to %d: next %d, %v\n%s\n%s", c.from, c.to, next, err, got, want)
			}
		}
		if got, next, err := r.Append(nil, []byte("nobody"), 1, 10, 100); len(got) > 0 || next != 1 || err != nil {
			t.Error(got, next, err)
		}
	})
}

// failing is a Store that yields some rows and then fails.
type failing struct{ archive.Store }

func (failing) Read(_ context.Context, id string, from, _ uint64, _ archive.Page, yield func(*archive.Row) error) error {
	r := conformance.Row(id, from)
	if err := yield(&r); err != nil {
		return err
	}
	return archive.ErrDamaged
}

func TestReaderGivesNothingBeforeAnError(t *testing.T) {
	got, next, err := archive.NewReader(failing{}).Append([]byte("x"), []byte("c"), 5, 9, 1000)
	if string(got) != "x" || next != 5 || !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("%s, %d, %v", got, next, err)
	}
}
