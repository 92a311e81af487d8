package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"fastpaca/archive"
)

// format is the contents of format.json.
type format struct {
	Format     string `json:"format"`
	Version    int    `json:"version"`
	Partitions int    `json:"partitions"`
}

const (
	formatKey = "format.json"
	probeKey  = "index/probe"
)

// Migrate makes an empty archive where there is none: the manifests of all partitions, and then format.json, which says
// that they are there. Each is made on the condition that it does not exist, so that several nodes may do it at the
// same time, and from then on a manifest that is missing is an error and not an empty archive.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, done := s.call(ctx)
	defer done()
	want := format{Format: "fastpaca-archive", Version: 1, Partitions: partitions}
	b, _, err := s.client.get(ctx, formatKey, 0, 0, "")
	if errors.Is(err, errMissing) {
		if err := s.probe(ctx); err != nil {
			return err
		}
		err = each(ctx, partitions, func(i int) error {
			_, err := s.client.put(ctx, s.parts[i].dir+"manifest", s.codec.encodeManifest(&manifest{}), "*")
			return ignore(err, errLostRace)
		})
		if err != nil {
			return err
		}
		b, _ = json.Marshal(want)
		_, err = s.client.put(ctx, formatKey, b, "*")
		if !errors.Is(err, errLostRace) {
			return err
		}
		b, _, err = s.client.get(ctx, formatKey, 0, 0, "")
	}
	if err != nil {
		return err
	}
	var got format
	if err := json.Unmarshal(b, &got); err != nil || got.Format != want.Format {
		return fmt.Errorf("%w: s3: %s is not ours; give fastpaca a bucket or a FASTPACA_S3_PREFIX of its own",
			archive.ErrNotReady, s.name(formatKey))
	}
	if got != want {
		return fmt.Errorf("%w: s3: it has format %d with %d partitions and this server knows %d with %d; run the newer fastpaca",
			archive.ErrNotReady, got.Version, got.Partitions, want.Version, want.Partitions)
	}
	return nil
}

// probe finds out whether the store honours conditions. One that ignores them would let two leaders overwrite each
// other's index.
func (s *Store) probe(ctx context.Context) error {
	etag, err := s.client.put(ctx, probeKey, []byte("1"), "")
	if err != nil {
		return err
	}
	for _, match := range [...]string{"*", "00000000000000000000000000000000"} {
		if _, err := s.client.put(ctx, probeKey, []byte("2"), match); err == nil {
			return fmt.Errorf("%w: s3: the server ignores If-Match or If-None-Match on writes, which keep two nodes from overwriting "+
				"each other's index; use one that honours them (AWS, MinIO, versitygw, ...)", archive.ErrNotReady)
		} else if !errors.Is(err, errLostRace) {
			return err
		}
	}
	// Several nodes may be probing: each writes the same bytes, so that the tag is the same.
	if _, err := s.client.put(ctx, probeKey, []byte("1"), etag); err != nil {
		if errors.Is(err, errLostRace) {
			return fmt.Errorf("%w: s3: the server refuses to replace an object If-Match the tag that it gave it", archive.ErrNotReady)
		}
		return err
	}
	return nil
}
