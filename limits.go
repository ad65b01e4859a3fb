package lamina

// Limits are the quotas of an account. Each has AWS's default and can be
// configured by the operator.
type Limits struct {
	CodeStorage           int64 // bytes of all archives of an account and region
	ZippedUpload          int64 // bytes of a zip in a request
	Unzipped              int64 // bytes of code and layers together
	ArchiveEntries        int   // entries of one archive; Lamina's own bound
	LayersPerFunction     int
	EnvironmentBytes      int
	PolicyBytes           int
	TagsPerResource       int
	ConcurrentExecutions  int64
	MinimumUnreserved     int64
	RequestRate           int64 // synchronous requests per second and unit of concurrency; 0 is no limit
	RequestPayload        int64 // bytes, RequestResponse
	EventPayload          int64 // bytes, Event
	QueuedEvents          int64 // of an account and region; Lamina's own bound
	QueuedEventBytes      int64 // their payloads; Lamina's own bound
	ResponsePayload       int64 // bytes
	StreamedResponse      int64 // bytes of a response that the function streams to a client that streams
	FunctionNameLength    int
	LocationMinutes       int // life of a Content.Location link
	PageDefault           int // entries of a page when the client names no MaxItems
	LayerPageDefault      int
	ArchiveNameLength     int // bytes of one entry's name
	ArchiveRatio          int64
	ArchiveRatioThreshold int64
	APIRequests           int64 // per second, account, region and service, but invocations and GetFunction; 0 is no limit
	GetFunctionRequests   int64 // of GetFunction, which has a quota of its own; 0 is no limit
}

// DefaultLimits returns AWS's documented quotas, but for those of requests: AWS
// has 10 for RequestRate, 15 for APIRequests and 100 for GetFunctionRequests, which
// is meant for its machines, not for a function tried out in a loop.
func DefaultLimits() Limits {
	return Limits{
		CodeStorage:           75 << 30,
		ZippedUpload:          50 << 20,
		Unzipped:              250 << 20,
		ArchiveEntries:        200_000,
		LayersPerFunction:     5,
		EnvironmentBytes:      4096,
		PolicyBytes:           20 << 10,
		TagsPerResource:       50,
		ConcurrentExecutions:  1000,
		MinimumUnreserved:     100,
		RequestPayload:        6 << 20,
		EventPayload:          1 << 20,
		QueuedEvents:          100_000,
		QueuedEventBytes:      1 << 30,
		ResponsePayload:       6<<20 + 100,
		StreamedResponse:      200 << 20,
		FunctionNameLength:    64,
		LocationMinutes:       10,
		PageDefault:           50,
		LayerPageDefault:      50,
		ArchiveNameLength:     4096,
		ArchiveRatio:          2000,
		ArchiveRatioThreshold: 64 << 20,
		APIRequests:           10_000,
		GetFunctionRequests:   10_000,
	}
}
