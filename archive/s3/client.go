package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"fastpaca/archive"
)

// Config says where the bucket is, and how to get in.
type Config struct {
	Bucket   string        // FASTPACA_S3_BUCKET; it must exist
	Prefix   string        // FASTPACA_S3_PREFIX; put before every key as it is
	Endpoint string        // FASTPACA_S3_ENDPOINT: https://host[:port] or http://...; "": AWS
	Region   string        // AWS_REGION; default us-east-1
	Access   string        // AWS_ACCESS_KEY_ID; "": the credentials file of AWS_PROFILE, or the role of the machine
	Secret   string        // AWS_SECRET_ACCESS_KEY
	Session  string        // AWS_SESSION_TOKEN
	Timeout  time.Duration // of one Put, Read or Migrate; default 30 s
	Tries    int           // how often a request is sent before its error counts; default 3: a blip should fail no reader
}

// client is the few requests that the adapter makes.
type client struct {
	core      *minio.Core
	transport *http.Transport
	bucket    string
	prefix    string
	tries     int
}

var (
	errMissing  = errors.New("no such object")
	errLostRace = errors.New("somebody else was faster")
	errSame     = errors.New("not modified")
)

func newClient(cfg *Config) (*client, error) {
	if cfg.Bucket == "" {
		return nil, errors.New("FASTPACA_S3_BUCKET is empty: name the bucket that messages are archived in")
	}
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("FASTPACA_S3_ENDPOINT %q: must be https://host[:port] or http://host[:port]", cfg.Endpoint)
	}
	creds := credentials.NewStaticV4(cfg.Access, cfg.Secret, cfg.Session)
	if cfg.Access == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
		})
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, err
	}
	transport.ResponseHeaderTimeout = cfg.Timeout
	transport.MaxIdleConnsPerHost = parallel
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: creds, Secure: u.Scheme == "https", Region: cfg.Region, Transport: transport, MaxRetries: cfg.Tries,
	})
	if err != nil {
		return nil, fmt.Errorf("FASTPACA_S3_ENDPOINT: %w", err)
	}
	return &client{core: core, transport: transport, bucket: cfg.Bucket, prefix: cfg.Prefix, tries: cfg.Tries}, nil
}

// get reads an object, or length bytes of it from off if length > 0. With an etag it returns errSame if the object
// still has that.
func (c *client) get(ctx context.Context, key string, off, length int64, etag string) (b []byte, newTag string, err error) {
	var opts minio.GetObjectOptions
	if length > 0 {
		err = opts.SetRange(off, off+length-1)
	}
	if etag != "" && err == nil {
		err = opts.SetMatchETagExcept(etag)
	}
	if err != nil {
		return nil, "", err
	}
	// An answer may break off in its middle, which the client below does not see to.
	for try := 1; ; try++ {
		body, info, _, err := c.core.GetObject(ctx, c.bucket, c.prefix+key, opts)
		if err != nil {
			return nil, "", c.failed("reading", key, ctx, err)
		}
		b, err = readBody(body, info.Size)
		if err == nil && (length == 0 || int64(len(b)) == length) {
			return b, info.ETag, nil
		}
		if err == nil {
			return nil, "", fmt.Errorf("%w: %s/%s ends before byte %d", archive.ErrDamaged, c.bucket, c.prefix+key, off+length)
		}
		if try == c.tries || ctx.Err() != nil {
			return nil, "", c.failed("reading", key, ctx, err)
		}
	}
}

// bodyMax bounds an object or a range that is read as a whole.
const bodyMax = 256 << 20

func readBody(body io.ReadCloser, size int64) ([]byte, error) {
	defer body.Close()
	if size > bodyMax {
		return nil, fmt.Errorf("%w: an object of %d bytes", archive.ErrDamaged, size)
	}
	b := make([]byte, max(size, 0))
	_, err := io.ReadFull(body, b)
	return b, err
}

// put writes an object. match "*" wants that there is none, another match that it has this etag, "" nothing;
// errLostRace says that this was not so.
func (c *client) put(ctx context.Context, key string, b []byte, match string) (etag string, err error) {
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true, SendContentMd5: true}
	switch match {
	case "":
	case "*":
		opts.SetMatchETagExcept("*")
	default:
		opts.SetMatchETag(match)
	}
	info, err := c.core.Client.PutObject(ctx, c.bucket, c.prefix+key, bytes.NewReader(b), int64(len(b)), opts)
	if err != nil {
		return "", c.failed("writing", key, ctx, err)
	}
	return info.ETag, nil
}

// remove deletes an object that nobody needs. That it stays does no harm, so errors are not looked at.
func (c *client) remove(ctx context.Context, key string) {
	_ = c.core.RemoveObject(ctx, c.bucket, c.prefix+key, minio.RemoveObjectOptions{})
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// failed gives err its kind, or makes it errMissing, errLostRace or errSame.
func (c *client) failed(op, key string, ctx context.Context, err error) error {
	if archive.Kind(err) != "other" {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("s3, %s %s/%s%s: %w", op, c.bucket, c.prefix, key, ctx.Err())
	}
	kind, hint := archive.ErrUnavailable, ""
	r := minio.ToErrorResponse(err)
	switch status := r.StatusCode; {
	case status == http.StatusNotModified:
		return errSame
	case r.Code == "NoSuchBucket":
		kind, hint = archive.ErrNotReady, " (create the bucket)"
	case status == http.StatusNotFound:
		return errMissing
	case status == http.StatusPreconditionFailed, status == http.StatusConflict:
		return errLostRace
	case status == http.StatusForbidden, status == http.StatusUnauthorized,
		r.Code == "AccessDenied", r.Code == "InvalidAccessKeyId", r.Code == "SignatureDoesNotMatch":
		kind, hint = archive.ErrDenied, " (check the AWS_* credentials and that they may get, put, delete and list objects)"
	case status == http.StatusInsufficientStorage, r.Code == "QuotaExceeded", r.Code == "XMinioStorageFull":
		kind = archive.ErrFull
	}
	return fmt.Errorf("s3, %s %s/%s%s: %w%s: %w", op, c.bucket, c.prefix, key, kind, hint, err)
}
