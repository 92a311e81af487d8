package tokenize

import (
	"fmt"
	"strings"
)

const (
	encodingO200K  = "o200k_base"
	encodingCL100K = "cl100k_base"
)

// modelEncoding gives the encoding of one model name, or, where the name ends in '*', of every name that
// starts so.
type modelEncoding struct{ model, encoding string }

// knownModels is tiktoken's table (tiktoken/model.py: exact names, then prefixes), of which the encodings
// that are not in use by any current model (r50k, p50k) are left out. The first match counts, so a longer
// prefix comes before a shorter one. gpt-oss has an encoding of its own in tiktoken, o200k_harmony, that is
// o200k_base but for its special tokens, which are never counted here.
func knownModels() []modelEncoding {
	return []modelEncoding{
		{encodingO200K, encodingO200K},
		{encodingCL100K, encodingCL100K},

		{"gpt-5", encodingO200K}, {"gpt-5-*", encodingO200K},
		{"gpt-4.5-*", encodingO200K},
		{"gpt-4.1", encodingO200K}, {"gpt-4.1-*", encodingO200K},
		{"gpt-4o", encodingO200K}, {"gpt-4o-*", encodingO200K},
		{"chatgpt-4o", encodingO200K}, {"chatgpt-4o-*", encodingO200K},
		{"o1", encodingO200K}, {"o1-*", encodingO200K},
		{"o3", encodingO200K}, {"o3-*", encodingO200K},
		{"o4-*", encodingO200K},
		{"gpt-oss-*", encodingO200K},
		{"ft:gpt-4o*", encodingO200K},

		{"gpt-4", encodingCL100K}, {"gpt-4-*", encodingCL100K},
		{"gpt-3.5", encodingCL100K}, {"gpt-3.5-turbo", encodingCL100K}, {"gpt-3.5-turbo-*", encodingCL100K},
		{"gpt-35-turbo", encodingCL100K}, {"gpt-35-turbo-*", encodingCL100K}, // Azure's name of it
		{"ft:gpt-4*", encodingCL100K}, {"ft:gpt-3.5-turbo*", encodingCL100K},
		{"davinci-002", encodingCL100K}, {"ft:davinci-002*", encodingCL100K},
		{"babbage-002", encodingCL100K}, {"ft:babbage-002*", encodingCL100K},
		{"text-embedding-ada-002", encodingCL100K},
		{"text-embedding-3-small", encodingCL100K},
		{"text-embedding-3-large", encodingCL100K},
	}
}

// encodingOf is the encoding of a model, or of an encoding's own name. The error lists all that is known.
func encodingOf(model string) (string, error) {
	models := knownModels()
	for _, m := range models {
		prefix, open := strings.CutSuffix(m.model, "*")
		if model == prefix && !open || open && strings.HasPrefix(model, prefix) {
			return m.encoding, nil
		}
	}
	var known strings.Builder
	for i, m := range models {
		if i > 0 {
			known.WriteString(", ")
		}
		known.WriteString(m.model)
	}
	return "", fmt.Errorf("unknown model %q; known are %s (* stands for any ending): name the encoding itself if the model's is one of the first two", model, &known)
}
