package httpd

// route is what a path names. Its methods and the label that metrics show are in the table below.
type route uint8

const (
	routeNone route = iota
	routeContext
	routeMetadata
	routeMessages
	routeTail
	routeWindow
	routeCompact
	routeStream
	routeEvents
	routeCluster
	routeHealthLive
	routeHealthReady
	routeMetrics
	routeOpenAPI
	routeCount
)

// routes is indexed by route. allow is the text of the Allow header.
var routes = [routeCount]struct {
	label string
	allow string
}{
	routeNone:        {"none", ""},
	routeContext:     {"/v1/contexts/{id}", "GET, HEAD, PUT, DELETE"},
	routeMetadata:    {"/v1/contexts/{id}/metadata", "PATCH"},
	routeMessages:    {"/v1/contexts/{id}/messages", "GET, HEAD, POST"},
	routeTail:        {"/v1/contexts/{id}/tail", "GET, HEAD"},
	routeWindow:      {"/v1/contexts/{id}/context", "GET, HEAD"},
	routeCompact:     {"/v1/contexts/{id}/compact", "POST"},
	routeStream:      {"/v1/contexts/{id}/stream", "GET"},
	routeEvents:      {"/v1/contexts/{id}/events", "GET"},
	routeCluster:     {"/v1/cluster", "GET, HEAD"},
	routeHealthLive:  {"/health/live", "GET, HEAD"},
	routeHealthReady: {"/health/ready", "GET, HEAD"},
	routeMetrics:     {"/metrics", "GET, HEAD"},
	routeOpenAPI:     {"/openapi.json", "GET, HEAD"},
}

// String is the label of the route in metrics and logs.
func (r route) String() string { return routes[r].label }
