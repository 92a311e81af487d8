package httpd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSSEDataLines(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:              "data: {}\n\n",
		"{\n}":            "data: {\ndata: }\n\n",
		"{\r}":            "data: {\ndata: }\n\n",
		"{\r\n}":          "data: {\ndata: }\n\n",
		"{\n\r}":          "data: {\ndata: \ndata: }\n\n",
		"{\r\r\n\n}":      "data: {\ndata: \ndata: \ndata: }\n\n",
		"{ \n, \r\n \r }": "data: { \ndata: , \ndata:  \ndata:  }\n\n",
	} {
		require.Equal(t, want, string(appendData(nil, []byte(in))), "%q", in)
	}
}
