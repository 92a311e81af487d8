package archive

import (
	"context"
	"errors"
)

// Row is one message on its way into a store or out of it.
type Row struct {
	Context    string // id of the conversation, 1 to 255 bytes of UTF-8 without control characters
	Seq        uint64 // 1, 2, ...
	Tokens     uint32
	InsertedMs int64  // Unix ms
	Message    []byte // the JSON object exactly as it is served; valid JSON in valid UTF-8
}

// Page says how much one Read may yield. Both limits hold, but the first row is yielded whatever its size, so that a
// caller that pages always gets on.
type Page struct {
	Rows  int // > 0
	Bytes int // of messages, > 0
}

// Store is cold storage. All methods may be called by several goroutines, and several processes may work on one store
// at a time: two nodes that both believe that they lead a shard write the same rows.
//
// Every error wraps one of the kinds below, and says what an operator needs to know; none holds a password or a
// secret key. After an error the same call may be made again; what a failed Put wrote does no harm.
type Store interface {
	// Migrate brings the store into the form that this version needs, or says why it cannot be. However many nodes
	// call it at the same time, each step is done once. Put and Read expect it to have succeeded some time, by any node.
	Migrate(ctx context.Context) error

	// Put stores rows durably, all of them or none that counts, and returns how many of them the store did not have.
	// A row whose context and seq are stored already is left as it is. Rows may come in any order and more than once;
	// the slice is not kept, but it may be sorted.
	Put(ctx context.Context, rows []Row) (inserted int, err error)

	// Read yields the stored rows of a context with from <= Seq <= to in ascending order, as many as fit the page. An
	// unknown context has none. The row is valid until yield returns; an error of yield ends the call and is returned.
	//
	// What a Put on any node had stored before the call is seen.
	Read(ctx context.Context, id string, from, to uint64, page Page, yield func(*Row) error) error

	// Close ends what goes on in the background. Calls under way fail.
	Close()
}

// The kinds of errors. All of them are worth another try, some only after somebody has done something.
var (
	ErrUnavailable = errors.New("the archive cannot be reached")             // network, timeout, restart, 503
	ErrDenied      = errors.New("the archive refuses us")                    // wrong password, no permission
	ErrNotReady    = errors.New("the archive is not set up")                 // missing table, database or bucket; newer schema
	ErrFull        = errors.New("the archive is full")                       // its disk, its quota
	ErrConflict    = errors.New("the archive holds something else")          // another message under the same context and seq
	ErrRefused     = errors.New("the archive refuses a row")                 // and will again: the table was changed
	ErrDamaged     = errors.New("the archive gave back what cannot be ours") // failed checksum, undecodable
)

// Kind returns which of the kinds err wraps as a word for logs and labels: unavailable, denied, not_ready, full,
// conflict, refused, damaged, or other.
func Kind(err error) string {
	for _, k := range [...]struct {
		err  error
		word string
	}{
		{ErrDenied, "denied"}, {ErrNotReady, "not_ready"}, {ErrFull, "full"},
		{ErrConflict, "conflict"}, {ErrRefused, "refused"}, {ErrDamaged, "damaged"}, {ErrUnavailable, "unavailable"},
	} {
		if errors.Is(err, k.err) {
			return k.word
		}
	}
	return "other"
}
