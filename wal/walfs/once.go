package walfs

// OnceOpener is what an FS may be, too: recovery reads most of a log only once.
type OnceOpener interface {
	// OpenOnce opens an existing file to be read from front to back, once, in long runs. Offsets, lengths and the
	// memory that is read into should be multiples of DirectAlign, but for the end of the file. The file may be read
	// past the page cache; it must not be written to.
	OpenOnce(name string) (File, error)
}

// DirectAlign suits every disk: the largest logical block there is.
const DirectAlign = 4096
