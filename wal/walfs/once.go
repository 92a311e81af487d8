package walfs

import "unsafe"

// OnceOpener is what an FS may be, too: recovery reads most of a log only once.
type OnceOpener interface {
	// OpenOnce opens an existing file to be read from front to back, once, in long runs. Offsets, lengths and the
	// memory that is read into should be multiples of DirectAlign, but for the end of the file. The file may be read
	// past the page cache; it must not be written to.
	OpenOnce(name string) (File, error)
}

// DirectAlign suits every disk: the largest logical block there is.
const DirectAlign = 4096

// Aligned returns n bytes of zeros that begin at a multiple of DirectAlign, where a disk can take them from.
func Aligned(n int) []byte {
	b := make([]byte, n+DirectAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (DirectAlign - 1)
	return b[skip : skip+n : skip+n]
}
