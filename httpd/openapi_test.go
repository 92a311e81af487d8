package httpd

import (
	"encoding/json"
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// openapi is the description, decoded, with a checker for the part of JSON Schema that it uses.
type openapi struct{ doc map[string]any }

func loadOpenAPI(t *testing.T) *openapi {
	t.Helper()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(openapiJSON, &doc))
	return &openapi{doc}
}

// at follows a path of object members.
func (o *openapi) at(path ...string) map[string]any {
	v := o.doc
	for _, p := range path {
		v, _ = v[p].(map[string]any)
	}
	return v
}

// deref follows a $ref, if v is one.
func (o *openapi) deref(v any) map[string]any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	target := o.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	if target == nil {
		panic("openapi.json: nothing at " + ref)
	}
	return target
}

// check returns what of v does not fit schema, "" if all does. A keyword it does not know is an error: a checker
// that skips silently proves nothing.
func (o *openapi) check(schema, v any, at string) string {
	if b, ok := schema.(bool); ok {
		if !b {
			return at + ": not allowed"
		}
		return ""
	}
	s := o.deref(schema)
	for keyword, arg := range s {
		if msg := o.checkKeyword(s, keyword, arg, v, at); msg != "" {
			return msg
		}
	}
	return ""
}

func (o *openapi) checkKeyword(s map[string]any, keyword string, arg, v any, at string) string {
	fail := func() string { return fmt.Sprintf("%s: %v does not fit %s %v", at, v, keyword, arg) }
	number, isNumber := v.(float64)
	text, isText := v.(string)
	list, isList := v.([]any)
	object, isObject := v.(map[string]any)
	ok := true
	switch keyword {
	case "description", "default", "example":
	case "format":
		if arg == "date-time" && isText {
			_, err := time.Parse("2006-01-02T15:04:05.000Z", text)
			ok = err == nil
		}
	case "type":
		types, many := arg.([]any)
		if !many {
			types = []any{arg}
		}
		ok = slices.ContainsFunc(types, func(t any) bool { return hasType(v, t.(string)) })
	case "enum":
		ok = slices.Contains(arg.([]any), v)
	case "const":
		ok = arg == v
	case "minimum":
		ok = !isNumber || number >= arg.(float64)
	case "maximum":
		ok = !isNumber || number <= arg.(float64)
	case "exclusiveMinimum":
		ok = !isNumber || number > arg.(float64)
	case "minLength":
		ok = !isText || utf8.RuneCountInString(text) >= int(arg.(float64))
	case "maxLength":
		ok = !isText || utf8.RuneCountInString(text) <= int(arg.(float64))
	case "pattern":
		ok = !isText || regexp.MustCompile(arg.(string)).MatchString(text)
	case "minItems":
		ok = !isList || len(list) >= int(arg.(float64))
	case "maxItems":
		ok = !isList || len(list) <= int(arg.(float64))
	case "items":
		for i, item := range list {
			if msg := o.check(arg, item, fmt.Sprintf("%s[%d]", at, i)); msg != "" {
				return msg
			}
		}
	case "required":
		for _, name := range arg.([]any) {
			if _, has := object[name.(string)]; isObject && !has {
				return at + ": " + name.(string) + " is missing"
			}
		}
	case "properties":
		for name, sub := range arg.(map[string]any) {
			if member, has := object[name]; has {
				if msg := o.check(sub, member, at+"."+name); msg != "" {
					return msg
				}
			}
		}
	case "additionalProperties":
		known, _ := s["properties"].(map[string]any)
		for name, member := range object {
			if _, has := known[name]; !has {
				if msg := o.check(arg, member, at+"."+name); msg != "" {
					return msg
				}
			}
		}
	case "allOf":
		for _, sub := range arg.([]any) {
			if msg := o.check(sub, v, at); msg != "" {
				return msg
			}
		}
	case "oneOf":
		var why []string
		for _, sub := range arg.([]any) {
			if msg := o.check(sub, v, at); msg != "" {
				why = append(why, msg)
			}
		}
		if n := len(arg.([]any)) - len(why); n != 1 {
			return fmt.Sprintf("%s: fits %d of oneOf, want 1: %s", at, n, strings.Join(why, "; "))
		}
	default:
		return at + ": the checker does not know the keyword " + keyword
	}
	if !ok {
		return fail()
	}
	return ""
}

func hasType(v any, typ string) bool {
	switch v := v.(type) {
	case nil:
		return typ == "null"
	case bool:
		return typ == "boolean"
	case string:
		return typ == "string"
	case float64:
		return typ == "number" || typ == "integer" && v == math.Trunc(v)
	case []any:
		return typ == "array"
	}
	return typ == "object"
}

// checkAnswer fails unless the description knows this answer of this route and every member of its body.
func (o *openapi) checkAnswer(t *testing.T, method, route string, status int, contentType string, body []byte) {
	t.Helper()
	at := fmt.Sprintf("%s %s %d", method, route, status)
	op := o.at("paths", route, strings.ToLower(method))
	require.NotNil(t, op, at)
	answer := o.deref(op["responses"].(map[string]any)[strconv.Itoa(status)])
	require.NotNil(t, answer, "%s is not described; body %s", at, body)
	content, _ := answer["content"].(map[string]any)
	if content == nil {
		require.Empty(t, body, at)
		return
	}
	media, _, _ := strings.Cut(contentType, ";")
	m, _ := content[media].(map[string]any)
	require.NotNil(t, m, "%s: content type %s is not described", at, contentType)
	if media == "application/json" {
		var v any
		require.NoError(t, json.Unmarshal(body, &v), at)
		require.Empty(t, o.check(m["schema"], v, at), "%s", body)
	}
}

// checkEvent fails unless the description knows this event of a stream and every member of it.
func (o *openapi) checkEvent(t *testing.T, event []byte) {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(event, &v), "%s", event)
	require.Empty(t, o.check(map[string]any{"$ref": "#/components/schemas/Event"}, v, "event"), "%s", event)
}

var httpMethods = []string{"get", "put", "post", "delete", "patch", "options", "head", "trace"}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	o := loadOpenAPI(t)
	want := map[string][]string{}
	for r := routeNone + 1; r < routeCount; r++ {
		if r == routePeer { // no client's business
			continue
		}
		for _, method := range strings.Split(routes[r].allow, ", ") {
			if method != "HEAD" { // answered wherever GET is, as info.description says
				want[r.String()] = append(want[r.String()], strings.ToLower(method))
			}
		}
		slices.Sort(want[r.String()])
	}
	got := map[string][]string{}
	for path, item := range o.at("paths") {
		for key := range item.(map[string]any) {
			if slices.Contains(httpMethods, key) {
				got[path] = append(got[path], key)
			} else {
				require.Equal(t, "parameters", key, path)
			}
		}
		slices.Sort(got[path])
	}
	require.Equal(t, want, got)
}

func TestOpenAPIOperationsAreComplete(t *testing.T) {
	o := loadOpenAPI(t)
	ids := map[string]bool{}
	tags := map[string]bool{}
	for _, tag := range o.doc["tags"].([]any) {
		tags[tag.(map[string]any)["name"].(string)] = true
	}
	for path, item := range o.at("paths") {
		for method, v := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			op, at := v.(map[string]any), method+" "+path
			id := op["operationId"].(string)
			require.False(t, ids[id], "%s: operationId %s twice", at, id)
			ids[id] = true
			require.NotEmpty(t, op["summary"], at)
			require.True(t, tags[op["tags"].([]any)[0].(string)], at)
			_, open := op["security"]
			require.Equal(t, !strings.HasPrefix(path, "/v1/"), open, "%s: all of /v1 wants the key, and nothing else does", at)
			if strings.Contains(path, "{id}") {
				require.NotNil(t, item.(map[string]any)["parameters"], at)
			}
			responses := op["responses"].(map[string]any)
			if !open {
				require.Contains(t, responses, "401", at)
			}
			require.Contains(t, responses, "405", at)
			if _, has := op["requestBody"]; has {
				require.Contains(t, responses, "413", at)
				require.Contains(t, responses, "415", at)
			}
		}
	}
}

// errorTable reads the apiError literals of errors.go: code -> status.
func errorTable(t *testing.T) map[string]int {
	t.Helper()
	f, err := goparser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	table := map[string]int{}
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok || len(lit.Elts) < 2 {
			return true
		}
		if id, ok := lit.Type.(*ast.Ident); !ok || id.Name != "apiError" {
			return true
		}
		status, err := strconv.Atoi(lit.Elts[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		code, err := strconv.Unquote(lit.Elts[1].(*ast.BasicLit).Value)
		require.NoError(t, err)
		table[code] = status
		return true
	})
	require.Greater(t, len(table), 20, "errors.go is read the wrong way")
	return table
}

func TestOpenAPIHasTheErrors(t *testing.T) {
	o := loadOpenAPI(t)
	table := errorTable(t)
	table["rate_limited"] = 429 // promised by API.md for later; clients may as well be ready
	var want, got []string
	for code := range table {
		want = append(want, code)
	}
	for _, code := range o.at("components", "schemas", "Error", "properties", "error")["enum"].([]any) {
		got = append(got, code.(string))
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)

	// Each response component lists exactly the codes of its status.
	byStatus := map[int][]string{}
	for code, status := range table {
		byStatus[status] = append(byStatus[status], code)
	}
	status := map[string]int{"BadRequest": 400, "Unauthorized": 401, "NotFound": 404, "MethodNotAllowed": 405, "RequestTimeout": 408,
		"Conflict": 409, "PayloadTooLarge": 413, "UnsupportedMediaType": 415, "TooManyRequests": 429, "HeadersTooLarge": 431,
		"InternalError": 500, "Unavailable": 503}
	require.Len(t, byStatus, len(status))
	for name, v := range o.at("components", "responses") {
		schema := o.deref(v)["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)
		enum := schema["allOf"].([]any)[1].(map[string]any)["properties"].(map[string]any)["error"].(map[string]any)["enum"].([]any)
		var codes []string
		for _, c := range enum {
			codes = append(codes, c.(string))
		}
		require.ElementsMatch(t, byStatus[status[name]], codes, name)
	}
}

// walk calls f for every object below v.
func walk(v any, at string, f func(m map[string]any, at string)) {
	switch v := v.(type) {
	case map[string]any:
		f(v, at)
		for k, x := range v {
			walk(x, at+"/"+k, f)
		}
	case []any:
		for i, x := range v {
			walk(x, fmt.Sprintf("%s/%d", at, i), f)
		}
	}
}

func TestOpenAPIRefsAndExamples(t *testing.T) {
	o := loadOpenAPI(t)
	used := map[string]bool{}
	examples := 0
	walk(o.doc, "#", func(m map[string]any, at string) {
		if ref, ok := m["$ref"].(string); ok {
			require.NotNil(t, o.deref(m), "%s: %s", at, ref)
			used[ref] = true
		}
		schema, ok := m["schema"]
		if !ok {
			return
		}
		if ex, ok := m["example"]; ok {
			examples++
			require.Empty(t, o.check(schema, ex, at+"/example"))
		}
		if many, ok := m["examples"].(map[string]any); ok {
			for name, ex := range many {
				examples++
				require.Empty(t, o.check(schema, ex.(map[string]any)["value"], at+"/examples/"+name))
			}
		}
	})
	require.Greater(t, examples, 30)
	for _, kind := range []string{"schemas", "parameters", "responses"} {
		for name := range o.at("components", kind) {
			require.True(t, used["#/components/"+kind+"/"+name], "%s %s is not used", kind, name)
		}
	}
}

func TestOpenAPICheckerFinds(t *testing.T) {
	o := loadOpenAPI(t)
	ref := map[string]any{"$ref": "#/components/schemas/AppendedOne"}
	for _, bad := range []string{
		`{"seq":1,"version":1}`, `{"seq":1,"version":1,"token_estimate":1,"extra":1}`, `{"seq":0,"version":1,"token_estimate":1}`,
		`{"seq":1.5,"version":1,"token_estimate":1}`, `{"seq":"1","version":1,"token_estimate":1}`, `[]`,
	} {
		var v any
		require.NoError(t, json.Unmarshal([]byte(bad), &v))
		require.NotEmpty(t, o.check(ref, v, "x"), bad)
	}
	require.NotEmpty(t, o.check(map[string]any{"madeUp": 1}, nil, "x"))
}
