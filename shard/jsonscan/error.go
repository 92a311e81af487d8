package jsonscan

import "strconv"

// Code says what is wrong with a text. The zero Code means nothing is.
type Code uint8

const (
	_ Code = iota
	Truncated
	NoValue
	NoKey
	NoColon
	NoCommaOrBrace
	NoCommaOrBracket
	BadLiteral
	BadNumber
	BadEscape
	BadUTF8
	ControlCharacter
	Depth
	Trailing
	NotObject
	NotArray
)

var reasons = [...]string{
	Truncated:        "the text ends in the middle of a value",
	NoValue:          "a value must begin here",
	NoKey:            "a member name in double quotes must stand here",
	NoColon:          "a colon must follow the member name",
	NoCommaOrBrace:   "a comma or a closing brace must follow the member",
	NoCommaOrBracket: "a comma or a closing bracket must follow the element",
	BadLiteral:       "a word other than true, false and null",
	BadNumber:        "a malformed number",
	BadEscape:        "an unknown escape sequence in a string",
	BadUTF8:          "a string that is not valid UTF-8",
	ControlCharacter: "a control character in a string, which must be escaped",
	Depth:            "more than 128 arrays and objects inside one another",
	Trailing:         "more text after the end of the value",
	NotObject:        "an object must stand here",
	NotArray:         "an array must stand here",
}

// String returns the reason in words.
func (c Code) String() string { return reasons[c] }

// SyntaxError is every error of this package.
type SyntaxError struct {
	Code   Code
	Offset int // of the offending byte; the length of the text where it ends too early
}

func (e *SyntaxError) Error() string {
	return e.Code.String() + " (byte " + strconv.Itoa(e.Offset) + ")"
}

func newError(c Code, offset int) *SyntaxError { return &SyntaxError{Code: c, Offset: offset} }
