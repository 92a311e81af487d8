package archive

import (
	"fmt"

	"fastpaca/shard/jsonscan"
)

// Columns are the members of a message that a table has columns for, as they stand in its JSON.
type Columns struct {
	Role     []byte // a raw string, quotes included
	Parts    []byte // an array
	Metadata []byte // an object; nil where the message has none
}

// ColumnsOf finds them in a stored message. The slices are parts of message. An error means that message is not what a
// shard stores, and wraps ErrDamaged.
func ColumnsOf(message []byte) (Columns, error) {
	var c Columns
	if len(message) == 0 || message[0] != '{' {
		return c, fmt.Errorf("%w: a message that is not a JSON object", ErrDamaged)
	}
	m := jsonscan.Object(message, 0)
	for m.Next() {
		switch key := m.Key(); {
		case jsonscan.Equal(key, "role"):
			c.Role = m.Value()
		case jsonscan.Equal(key, "parts"):
			c.Parts = m.Value()
		case jsonscan.Equal(key, "metadata"):
			c.Metadata = m.Value()
		}
	}
	if end, err := m.End(); err != nil || end != len(message) {
		return c, fmt.Errorf("%w: a message that is not one JSON object: %v", ErrDamaged, err)
	}
	if len(c.Role) == 0 || c.Role[0] != '"' || len(c.Parts) == 0 || c.Parts[0] != '[' {
		return c, fmt.Errorf("%w: a message without role or parts", ErrDamaged)
	}
	return c, nil
}
