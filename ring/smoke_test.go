package ring

import "testing"

func TestSmoke(t *testing.T) {
	var l Log[int]
	l.Append([]byte(`{"seq":1}`), nil, Meta{Tokens: 3, Version: 1})
	l.SealVersion(1, 3, false)
	l.Publish(Header{Version: 1, LiveFrom: 1, Used: 3}, nil)
	var v View[int]
	l.View(&v)
	if string(v.AppendMessages(nil, 1, 9)) != `{"seq":1}` {
		t.Fatal(v)
	}
	p := Fit(&v, Window{LiveFrom: 1, Used: 3}, 10)
	if string(p.Append(nil)) != `{"seq":1}` {
		t.Fatal(p)
	}
}
