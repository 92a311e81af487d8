package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
)

// messageBytes is the size of every message that the benchmark appends: the JSON object of "message", as sent. All
// "bytes of messages" below count these and nothing else.
const messageBytes = 200

const (
	messageHead = `{"role":"user","parts":[{"type":"text","text":"`
	messageTail = `"}]}`
	textBytes   = messageBytes - len(messageHead) - len(messageTail)
)

// The text is drawn from common English words, so that token counting has honest work and snapshots compress about as
// well as conversations do (9 bits a word, zstd about 2.5 to 1), not as well as a text that repeats.
var words = strings.Fields(`
the of and to a in is it you that he was for on are with as I his they be at one have this from or had by hot but some
what there we can out other were all your when up use word how said an each she which do their time if will way about
many then them would write like so these her long make thing see him two has look more day could go come did my sound
no most number who over know water than call first people may down side been now find any new work part take get place
made live where after back little only round man year came show every good me give our under name very through just form
much great think say help low line before turn cause same mean differ move right boy old too does tell sentence set three
want air well also play small end put home read hand port large spell add even land here must big high such follow act
why ask men change went light kind off need house picture try us again animal point mother world near build self earth
father head stand own page should country found answer school grow study still learn plant cover food sun four thought
let keep eye never last door between city tree cross since hard start might story saw far sea draw left late run while
press close night real life few stop open seem together next white children begin got walk example ease paper often
always music those both mark book letter until mile river car feet care second group carry took rain eat room friend
began idea fish mountain north once base hear horse cut sure watch color face wood main enough plain girl usual young
ready above ever red list though feel talk bird soon body dog family direct pose leave song measure state product black
short numeral class wind question happen complete ship area half rock order fire south problem piece told knew pass farm
top whole king size heard best hour better true during hundred remember step early hold west ground interest reach fast
five sing listen six table travel less morning ten simple several vowel toward war lay against pattern slow center love
person money serve appear road map science rule govern pull cold notice voice fall power town fine certain fly unit lead
cry dark machine note wait plan figure star box noun field rest correct able pound done beauty drive stood contain front
teach week final gave green quick develop sleep warm free minute strong special mind behind clear tail produce fact
street inch lot nothing course stay wheel full force blue object decide surface deep moon island foot yet busy test
record boat common gold possible plane age dry wonder laugh thousand ago ran check game shape yes miss brought heat snow
bed bring sit perhaps fill east weight language among
`)

// writer makes messages. Deterministic for a seed; not safe for concurrent use.
type writer struct{ rng *rand.PCG }

func newWriter(seed uint64) *writer { return &writer{rand.NewPCG(seed, 0x9e3779b97f4a7c15)} }

// message appends one message object of exactly messageBytes bytes to dst.
func (w *writer) message(dst []byte) []byte {
	dst = append(dst, messageHead...)
	end := len(dst) + textBytes
	for r := w.rng.Uint64(); len(dst) < end; r >>= 16 {
		if r == 0 {
			r = w.rng.Uint64() | 1<<63
		}
		dst = append(dst, words[int(r&0xffff)*len(words)>>16]...)
		dst = append(dst, ' ')
	}
	dst = dst[:end]
	dst[end-1] = '.'
	return append(dst, messageTail...)
}

// contextID is the id of context i: all are equally long, so that requests are too.
func contextID(prefix string, i int) string { return fmt.Sprintf("%s-%06d", prefix, i) }

// request is one HTTP request as bytes.
func request(addr netip.AddrPort, method, path string, body []byte) []byte {
	var b bytes.Buffer
	b.Write(requestHead(nil, addr, method, path, len(body)))
	b.Write(body)
	return b.Bytes()
}

// requestHead appends the head of a request whose body has n bytes.
func requestHead(dst []byte, addr netip.AddrPort, method, path string, n int) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = addr.AppendTo(dst)
	if n > 0 {
		dst = append(dst, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	return append(dst, "\r\n\r\n"...)
}

const (
	singleHead = `{"message":`
	singleTail = `}`
	batchHead  = `{"messages":[`
	batchTail  = `]}`
)

// single appends the request that appends one message to context id.
func (w *writer) single(dst []byte, addr netip.AddrPort, id string) []byte {
	dst = requestHead(dst, addr, "POST", messagesPath(id), len(singleHead)+messageBytes+len(singleTail))
	dst = append(dst, singleHead...)
	dst = w.message(dst)
	return append(dst, singleTail...)
}

// batch appends the request that appends n messages to context id.
func (w *writer) batch(dst []byte, addr netip.AddrPort, id string, n int) []byte {
	dst = requestHead(dst, addr, "POST", messagesPath(id), len(batchHead)+n*messageBytes+n-1+len(batchTail))
	dst = append(dst, batchHead...)
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = w.message(dst)
	}
	return append(dst, batchTail...)
}

func contextPath(id string) string  { return "/v1/contexts/" + id }
func messagesPath(id string) string { return "/v1/contexts/" + id + "/messages" }
