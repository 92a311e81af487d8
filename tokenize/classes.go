package tokenize

import (
	"unicode"
	"unicode/utf8"
)

// A class of characters, one bit each so that a set of classes is a mask. Every character is of one class;
// the text's end, a byte that is not UTF-8, and the DEL the library skips are of none.
type class = uint8

const (
	upper    class = 1 << iota // Lu Lt
	lower                      // Ll
	caseless                   // Lm Lo
	mark                       // M
	number                     // N
	space                      // white space but for the line breaks
	newline                    // CR LF
	other

	del = 0x7F // U+007F

	letter = upper | lower | caseless
)

// classes gives the class of every character: a table for ASCII, a table in two stages for the rest. It is
// made of the Unicode tables of the Go in use, as the library's classes are.
type classes struct {
	ascii  [utf8.RuneSelf]class
	stage1 [(unicode.MaxRune + 1) / 128]uint16
	stage2 [][128]class
}

func newClasses(asLibrary bool) classes {
	all := make([]class, unicode.MaxRune+1)
	for i := range all {
		all[i] = other
	}
	set := func(t *unicode.RangeTable, c class) {
		for _, r := range t.R16 {
			for x := int(r.Lo); x <= int(r.Hi); x += int(r.Stride) {
				all[x] = c
			}
		}
		for _, r := range t.R32 {
			for x := int(r.Lo); x <= int(r.Hi); x += int(r.Stride) {
				all[x] = c
			}
		}
	}
	set(unicode.Lu, upper)
	set(unicode.Lt, upper)
	set(unicode.Ll, lower)
	set(unicode.Lm, caseless)
	set(unicode.Lo, caseless)
	set(unicode.M, mark)
	set(unicode.N, number)
	set(unicode.White_Space, space)
	all['\r'], all['\n'] = newline, newline
	if asLibrary {
		all[del] = 0
	}

	var c classes
	copy(c.ascii[:], all)
	seen := map[[128]class]uint16{}
	for i := range c.stage1 {
		block := [128]class(all[i*128:])
		j, ok := seen[block]
		if !ok {
			j = uint16(len(c.stage2))
			seen[block] = j
			c.stage2 = append(c.stage2, block)
		}
		c.stage1[i] = j
	}
	return c
}

// alone: is first a piece of one byte when next follows it? Only some of the cases of ASCII that have a yes get
// one; they are those of ordinary text. A NUL in place of the text's end is as good.
func (c *classes) alone(first, next byte) bool {
	return (first|next)&0x80 == 0 && aloneBefore[c.ascii[first&0x7F]]&c.ascii[next&0x7F] != 0
}

// aloneBefore gives for a class the classes whose characters end a piece that consists of one of its characters.
var aloneBefore = [256]class{
	number:  upper | lower | space | newline | other,
	other:   number | space, // letters would take it, line breaks go with it
	space:   number,         // all else takes it
	newline: letter | number | other,
}

// at is the class of the character at text[i:] and its length in bytes: 0, 0 at the end of text, 0, 1 where
// text is not UTF-8 or is a DEL to skip.
func (c *classes) at(text []byte, i int) (class, int) {
	if i >= len(text) {
		return 0, 0
	}
	if b := text[i]; b < utf8.RuneSelf {
		return c.ascii[b], 1
	}
	return c.wide(text[i:])
}

// wide is at for a text that starts with a byte of 0x80 or more.
func (c *classes) wide(text []byte) (class, int) {
	// Three bytes are most of CJK: decoded here, as DecodeRune is not inlined.
	if len(text) >= 3 && text[0]&0xF0 == 0xE0 && text[1]&0xC0 == 0x80 && text[2]&0xC0 == 0x80 {
		r := rune(text[0]&0x0F)<<12 | rune(text[1]&0x3F)<<6 | rune(text[2]&0x3F)
		if r >= 0x800 && (r < 0xD800 || r > 0xDFFF) {
			return c.stage2[c.stage1[r>>7]][r&127], 3
		}
		return 0, 1
	}
	r, size := utf8.DecodeRune(text)
	if r == utf8.RuneError && size == 1 {
		return 0, 1
	}
	return c.stage2[c.stage1[r>>7]][r&127], size
}
