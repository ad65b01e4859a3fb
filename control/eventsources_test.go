package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

const (
	queue   = "arn:aws:sqs:eu-west-1:000000000000:orders"
	fifo    = queue + ".fifo"
	stream  = "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks"
	table   = "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2025-11-25T02:26:52.894"
	cluster = "arn:aws:kafka:eu-west-1:000000000000:cluster/c/11111111-2222-3333-4444-555555555555-1"
	broker  = "arn:aws:mq:eu-west-1:000000000000:broker:b:b-1"
	docdb   = "arn:aws:rds:eu-west-1:000000000000:cluster:c"
	fnARN   = "arn:aws:lambda:eu-west-1:000000000000:function:fn"
)

func selfManaged(in *wire.CreateEventSourceMappingRequest) {
	in.EventSourceArn = nil
	in.SelfManagedEventSource = &wire.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"kafka:1000"}}}
	in.SourceAccessConfigurations = []wire.SourceAccessConfiguration{{Type: ptr("BASIC_AUTH"), URI: ptr("arn:aws:secretsmanager:eu-west-1:000000000000:secret:s")}}
	in.Topics = []string{"topic"}
}

func mapping(source string, edit ...func(*wire.CreateEventSourceMappingRequest)) *wire.CreateEventSourceMappingRequest {
	in := &wire.CreateEventSourceMappingRequest{FunctionName: "fn", EventSourceArn: &source}
	for _, e := range edit {
		e(in)
	}
	return in
}

func createMapping(t *testing.T, p *control.Plane, ctx context.Context, in *wire.CreateEventSourceMappingRequest) *wire.EventSourceMappingConfiguration {
	t.Helper()
	out, err := p.CreateEventSourceMapping(ctx, in)
	if err != nil {
		t.Fatalf("CreateEventSourceMapping: %v", err)
	}
	return out
}

// stillPlane is a plane that does nothing by itself: what is under way stays so.
func stillPlane(t *testing.T, path string) (*control.Plane, context.Context) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	p := control.New(control.Options{
		Store: db, Invoker: &fakeInvoker{}, Locations: noLocations{}, Limits: lamina.DefaultLimits(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	return p, identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
}

// rested waits until nothing is under way for a mapping. Nil is one that is gone.
func rested(t *testing.T, p *control.Plane, ctx context.Context, uuid string) *wire.EventSourceMappingConfiguration {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		out, err := p.GetEventSourceMapping(ctx, &wire.GetEventSourceMappingRequest{UUID: uuid})
		if wire.ResourceNotFound.Is(err) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if *out.State == "Enabled" || *out.State == "Disabled" {
			return out
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("still %s", *out.State)
		}
	}
}

func TestEventSourceMappingDefaults(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	zero, one, ten, hundred, any := int64(0), int64(1), int64(10), int64(100), int64(-1)
	streams := wire.EventSourceMappingConfiguration{
		BatchSize: &hundred, BisectBatchOnFunctionError: ptr(false), DestinationConfig: &wire.DestinationConfig{OnFailure: &wire.OnFailure{}},
		FunctionResponseTypes: []string{}, LastProcessingResult: ptr("No records processed"), MaximumBatchingWindowInSeconds: &zero,
		MaximumRecordAgeInSeconds: &any, MaximumRetryAttempts: &any, ParallelizationFactor: &one, StartingPosition: ptr("TRIM_HORIZON"),
		StateTransitionReason: ptr("User action"), TumblingWindowInSeconds: &zero,
	}
	kinesis, dynamo := streams, streams
	kinesis.EventSourceArn, dynamo.EventSourceArn = ptr(stream), ptr(table)
	horizon := func(in *wire.CreateEventSourceMappingRequest) { in.StartingPosition = ptr("TRIM_HORIZON") }
	for name, c := range map[string]struct {
		in   *wire.CreateEventSourceMappingRequest
		want wire.EventSourceMappingConfiguration
	}{
		"SQS": {mapping(queue), wire.EventSourceMappingConfiguration{
			EventSourceArn: ptr(queue), BatchSize: &ten, MaximumBatchingWindowInSeconds: &zero, FunctionResponseTypes: []string{}, StateTransitionReason: ptr("USER_INITIATED"),
		}},
		"Kinesis":  {mapping(stream, horizon), kinesis},
		"DynamoDB": {mapping(table, horizon), dynamo},
		"self-managed Kafka": {mapping("", selfManaged), wire.EventSourceMappingConfiguration{
			BatchSize: &hundred, LastProcessingResult: ptr("No records processed"), StartingPosition: ptr("TRIM_HORIZON"), StateTransitionReason: ptr("USER_INITIATED"), Topics: []string{"topic"},
			SelfManagedEventSource:     &wire.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"kafka:1000"}}},
			SourceAccessConfigurations: []wire.SourceAccessConfiguration{{Type: ptr("BASIC_AUTH"), URI: ptr("arn:aws:secretsmanager:eu-west-1:000000000000:secret:s")}},
		}},
		"MSK": {mapping(cluster, horizon, func(in *wire.CreateEventSourceMappingRequest) { in.Topics = []string{"topic"} }), wire.EventSourceMappingConfiguration{
			EventSourceArn: ptr(cluster), BatchSize: &hundred, LastProcessingResult: ptr("No records processed"), StartingPosition: ptr("TRIM_HORIZON"),
			StateTransitionReason: ptr("USER_INITIATED"), Topics: []string{"topic"},
		}},
		"MQ": {mapping(broker, func(in *wire.CreateEventSourceMappingRequest) { in.Queues = []string{"q"} }), wire.EventSourceMappingConfiguration{
			EventSourceArn: ptr(broker), BatchSize: &hundred, LastProcessingResult: ptr("No records processed"), StateTransitionReason: ptr("USER_INITIATED"), Queues: []string{"q"},
		}},
		"DocumentDB": {mapping(docdb, horizon, func(in *wire.CreateEventSourceMappingRequest) {
			in.DocumentDBEventSourceConfig = &wire.DocumentDBEventSourceConfig{DatabaseName: ptr("d")}
		}), wire.EventSourceMappingConfiguration{
			EventSourceArn: ptr(docdb), BatchSize: &hundred, LastProcessingResult: ptr("No records processed"), StartingPosition: ptr("TRIM_HORIZON"), StateTransitionReason: ptr("USER_INITIATED"),
			DocumentDBEventSourceConfig: &wire.DocumentDBEventSourceConfig{DatabaseName: ptr("d"), FullDocument: ptr("Default")},
		}},
	} {
		got := createMapping(t, p, ctx, c.in)
		c.want.FunctionArn, c.want.State = ptr(fnARN), ptr("Creating")
		c.want.EventSourceMappingArn = ptr("arn:aws:lambda:eu-west-1:000000000000:event-source-mapping:" + *got.UUID)
		switch name {
		case "MSK":
			c.want.AmazonManagedKafkaEventSourceConfig = &wire.AmazonManagedKafkaEventSourceConfig{ConsumerGroupId: got.UUID}
		case "self-managed Kafka":
			c.want.SelfManagedKafkaEventSourceConfig = &wire.SelfManagedKafkaEventSourceConfig{ConsumerGroupId: got.UUID}
		}
		if diff := cmp.Diff(&c.want, got, cmpopts.IgnoreFields(wire.EventSourceMappingConfiguration{}, "UUID", "LastModified")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		c.want.State = ptr("Enabled")
		if diff := cmp.Diff(&c.want, rested(t, p, ctx, *got.UUID), cmpopts.IgnoreFields(wire.EventSourceMappingConfiguration{}, "UUID", "LastModified")); diff != "" {
			t.Errorf("%s, settled (-want +got):\n%s", name, diff)
		}
	}
}

func TestEventSourceMappingRefusals(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	type request = wire.CreateEventSourceMappingRequest
	filter := func(pattern *string) func(*request) {
		return func(in *request) {
			in.FilterCriteria = &wire.FilterCriteria{Filters: []wire.Filter{{Pattern: pattern}}}
		}
	}
	at := func(position string) func(*request) { return func(in *request) { in.StartingPosition = &position } }
	absent := func(in *request) { in.FunctionName = "absent" }
	const badFilter = "Invalid filter pattern definition."
	unsupported := func(name string) string {
		return "Unsupported " + name + " parameter for given event source mapping type."
	}
	for name, c := range map[string]struct {
		in   *request
		want string
	}{
		"no source":                       {mapping("", absent, func(in *request) { in.EventSourceArn = nil }), "Unrecognized event source."},
		"a source that is none":           {mapping("arn:aws:s3:::bucket"), "Unrecognized event source."},
		"no function":                     {mapping(queue, absent), "Function does not exist"},
		"no version":                      {mapping(queue, func(in *request) { in.FunctionName = "fn:7" }), "Function does not exist"},
		"no alias":                        {mapping(queue, func(in *request) { in.FunctionName = "fn:live" }), "Function does not exist"},
		"success destination comes first": {mapping("", absent, func(in *request) { in.DestinationConfig = &wire.DestinationConfig{OnSuccess: &wire.OnSuccess{}} }), unsupported("DestinationConfig")},
		"failure destination of a queue": {mapping(queue, func(in *request) {
			in.DestinationConfig = &wire.DestinationConfig{OnFailure: &wire.OnFailure{Destination: ptr(fifo)}}
		}), unsupported("DestinationConfig")},
		"parallel queue":                  {mapping(queue, func(in *request) { in.ParallelizationFactor = ptr[int64](2) }), unsupported("ParallelizationFactor")},
		"topics of a queue":               {mapping(queue, func(in *request) { in.Topics = []string{"t"} }), unsupported("Topics")},
		"position in a queue":             {mapping(queue, at("LATEST")), "StartingPosition is not valid for SQS event sources."},
		"no position in a stream":         {mapping(stream), "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null."},
		"timestamp in a table's stream":   {mapping(table, at("AT_TIMESTAMP")), "Unsupported starting position for arn type: " + table},
		"timestamp without one":           {mapping(stream, at("AT_TIMESTAMP")), "Required 'startingPositionTimestamp' parameter is missing."},
		"large batch without window":      {mapping(queue, func(in *request) { in.BatchSize = ptr[int64](11) }), "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"},
		"window of a FIFO queue":          {mapping(fifo, func(in *request) { in.MaximumBatchingWindowInSeconds = ptr[int64](1) }), unsupported("MaximumBatchingWindowInSeconds")},
		"self-managed without access":     {mapping("", selfManaged, func(in *request) { in.SourceAccessConfigurations = nil }), "Required 'sourceAccessConfigurations' parameter is missing."},
		"self-managed without topic":      {mapping("", selfManaged, func(in *request) { in.Topics = nil }), "Required 'topics' parameter is missing."},
		"filter without pattern":          {mapping(queue, filter(nil)), badFilter},
		"filter: null":                    {mapping(queue, filter(ptr("null"))), badFilter},
		"filter: a string":                {mapping(queue, filter(ptr(`"simple string"`))), badFilter},
		"filter: no JSON":                 {mapping(queue, filter(ptr(`simple`))), badFilter},
		"filter: value instead of a list": {mapping(queue, filter(ptr(`{"eventSource":"aws:sqs"}`))), badFilter},
		"filter: empty list":              {mapping(queue, filter(ptr(`{"eventSource":[]}`))), badFilter},
		"filter: unknown rule":            {mapping(queue, filter(ptr(`{"a":[{"like":"x"}]}`))), badFilter},
		"filter: wrong numeric":           {mapping(queue, filter(ptr(`{"a":[{"numeric":["<",5,">",1]}]}`))), badFilter},
		"more tags than a resource can have": {mapping(queue, func(in *request) {
			in.Tags = map[string]string{}
			for i := range 51 {
				in.Tags[fmt.Sprint(i)] = ""
			}
		}), "Number of tags exceeds resource tag limit."},
	} {
		_, err := p.CreateEventSourceMapping(ctx, c.in)
		wantException(t, name, err, wire.InvalidParameterValue, c.want)
	}
	for i, pattern := range []string{
		`{"body":{"a":["x",1,null,true]}}`, `{"a":[{"prefix":"x"}],"b":[{"numeric":[">",0,"<=",10]}]}`, `{"a":[{"exists":false}]}`,
		`{"a":[{"anything-but":["x"]}]}`, `{"$or":[{"a":[1]},{"b":[2]}]}`, `{"a":[{"anything-but":{"prefix":"x"}}]}`,
	} {
		out, err := p.CreateEventSourceMapping(ctx, mapping(fmt.Sprint(queue, i), filter(&pattern)))
		if err != nil {
			t.Errorf("CreateEventSourceMapping with filter %s: %v", pattern, err)
			continue
		}
		if got := *out.FilterCriteria.Filters[0].Pattern; got != pattern {
			t.Errorf("filter = %s; want %s", got, pattern)
		}
	}
	if out := createMapping(t, p, ctx, mapping(queue, func(in *request) { in.FilterCriteria = &wire.FilterCriteria{} })); out.FilterCriteria != nil {
		t.Errorf("FilterCriteria = %v; want none", out.FilterCriteria)
	}
}

func TestEventSourceMappingConflicts(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	latest := func(in *wire.CreateEventSourceMappingRequest) { in.StartingPosition = ptr("LATEST") }
	for name, c := range map[string]struct {
		in   *wire.CreateEventSourceMappingRequest
		want string
	}{
		"SQS":    {mapping(queue), `An event source mapping with SQS arn (" ` + queue + ` ") and function (" fn ") already exists. Please update or delete the existing mapping with UUID %s`},
		"stream": {mapping(stream, latest), `The event source arn (" ` + stream + ` ") and function (" fn ") provided mapping already exists. Please update or delete the existing mapping with UUID %s`},
		"Kafka":  {mapping("", selfManaged), `An event source mapping with event source ("kafka:1000"), function ("` + fnARN + `"), topics ("topic") already exists. Please update or delete the existing mapping with UUID %s`},
	} {
		first := createMapping(t, p, ctx, c.in)
		_, err := p.CreateEventSourceMapping(ctx, c.in)
		wantException(t, name, err, wire.ResourceConflict, fmt.Sprintf(c.want, *first.UUID))
	}
	createMapping(t, p, ctx, mapping(queue, func(in *wire.CreateEventSourceMappingRequest) { in.FunctionName = "fn:$LATEST" }))
}

func TestEventSourceMappingStates(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	create(t, p, ctx, "other")
	made := createMapping(t, p, ctx, mapping(queue, func(in *wire.CreateEventSourceMappingRequest) { in.Enabled = ptr(false) }))
	id := *made.UUID
	if got := rested(t, p, ctx, id); *got.State != "Disabled" || got.LastModified.Before(made.LastModified.Time) {
		t.Errorf("settled = %s at %s; want Disabled, not before %s", *got.State, got.LastModified, made.LastModified)
	}
	for _, c := range []struct {
		name       string
		in         wire.UpdateEventSourceMappingRequest
		want, then string
	}{
		{"on", wire.UpdateEventSourceMappingRequest{Enabled: ptr(true)}, "Enabling", "Enabled"},
		{"a setting", wire.UpdateEventSourceMappingRequest{BatchSize: ptr[int64](5)}, "Updating", "Enabled"},
		{"on again", wire.UpdateEventSourceMappingRequest{Enabled: ptr(true)}, "Updating", "Enabled"},
		{"off", wire.UpdateEventSourceMappingRequest{Enabled: ptr(false)}, "Disabling", "Disabled"},
		{"a setting while off", wire.UpdateEventSourceMappingRequest{FunctionName: ptr("other")}, "Updating", "Disabled"},
	} {
		c.in.UUID = id
		got, err := p.UpdateEventSourceMapping(ctx, &c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if *got.State != c.want {
			t.Errorf("%s: State = %s; want %s", c.name, *got.State, c.want)
		}
		if then := rested(t, p, ctx, id); *then.State != c.then || *then.BatchSize != *got.BatchSize || *then.FunctionArn != *got.FunctionArn {
			t.Errorf("%s: settled %s, %d, %s; want %s and as answered", c.name, *then.State, *then.BatchSize, *then.FunctionArn, c.then)
		}
	}
	_, err := p.UpdateEventSourceMapping(ctx, &wire.UpdateEventSourceMappingRequest{UUID: id, BatchSize: ptr[int64](20)})
	wantException(t, "update to a large batch", err, wire.InvalidParameterValue,
		"Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	_, err = p.UpdateEventSourceMapping(ctx, &wire.UpdateEventSourceMappingRequest{UUID: id, FunctionName: ptr("absent")})
	wantException(t, "update to no function", err, wire.InvalidParameterValue, "Function does not exist")

	if _, err := p.DeleteFunction(ctx, &wire.DeleteFunctionRequest{FunctionName: "other"}); err != nil {
		t.Fatal(err)
	}
	if got := rested(t, p, ctx, id); got == nil || *got.FunctionArn != "arn:aws:lambda:eu-west-1:000000000000:function:other" {
		t.Errorf("mapping after DeleteFunction = %v; want it unchanged", got)
	}
	gone, err := p.DeleteEventSourceMapping(ctx, &wire.DeleteEventSourceMappingRequest{UUID: id})
	if err != nil || *gone.State != "Deleting" {
		t.Fatalf("DeleteEventSourceMapping = %v, %v; want Deleting", gone, err)
	}
	if got := rested(t, p, ctx, id); got != nil {
		t.Errorf("after Deleting = %s; want none", *got.State)
	}
	const none = "The resource you requested does not exist."
	_, err = p.DeleteEventSourceMapping(ctx, &wire.DeleteEventSourceMappingRequest{UUID: id})
	wantException(t, "delete again", err, wire.ResourceNotFound, none)
	_, err = p.UpdateEventSourceMapping(ctx, &wire.UpdateEventSourceMappingRequest{UUID: id})
	wantException(t, "update of none", err, wire.ResourceNotFound, none)
}

// A mapping that is under way can't be changed; the next server goes on with it.
func TestEventSourceMappingUnderWay(t *testing.T) {
	t.Parallel()
	path := database(t)
	var id string
	t.Run("the server stops at once", func(t *testing.T) {
		p, ctx := stillPlane(t, path)
		create(t, p, ctx, "fn")
		id = *createMapping(t, p, ctx, mapping(queue)).UUID
		_, err := p.UpdateEventSourceMapping(ctx, &wire.UpdateEventSourceMappingRequest{UUID: id, BatchSize: ptr[int64](1)})
		wantException(t, "update", err, wire.ResourceInUse, "Cannot update the event source mapping because it is in use.")
		_, err = p.DeleteEventSourceMapping(ctx, &wire.DeleteEventSourceMappingRequest{UUID: id})
		wantException(t, "delete", err, wire.ResourceInUse, "Cannot delete the event source mapping because it is in use.")
	})
	p, ctx := planeOn(t, &fakeInvoker{}, path)
	if got := rested(t, p, ctx, id); got == nil || *got.State != "Enabled" {
		t.Errorf("after the restart = %v; want Enabled", got)
	}
}

func TestListEventSourceMappings(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	create(t, p, ctx, "other")
	a := *createMapping(t, p, ctx, mapping(queue)).UUID
	b := *createMapping(t, p, ctx, mapping(fifo)).UUID
	c := *createMapping(t, p, ctx, mapping(queue, func(in *wire.CreateEventSourceMappingRequest) { in.FunctionName = "other" })).UUID
	for name, l := range map[string]struct {
		in   wire.ListEventSourceMappingsRequest
		want []string
	}{
		"all":               {wire.ListEventSourceMappingsRequest{}, []string{a, b, c}},
		"of a function":     {wire.ListEventSourceMappingsRequest{FunctionName: ptr(fnARN)}, []string{a, b}},
		"of a queue":        {wire.ListEventSourceMappingsRequest{EventSourceArn: ptr(queue)}, []string{a, c}},
		"of both":           {wire.ListEventSourceMappingsRequest{EventSourceArn: ptr(queue), FunctionName: ptr("other")}, []string{c}},
		"of no function":    {wire.ListEventSourceMappingsRequest{FunctionName: ptr("doesnotexist")}, nil},
		"of no queue":       {wire.ListEventSourceMappingsRequest{EventSourceArn: ptr(queue + "x")}, nil},
		"of another region": {wire.ListEventSourceMappingsRequest{EventSourceArn: ptr(stream)}, nil},
	} {
		var got []string
		l.in.MaxItems = ptr[int64](1)
		for {
			out, err := p.ListEventSourceMappings(ctx, &l.in)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, m := range out.EventSourceMappings {
				got = append(got, *m.UUID)
			}
			if l.in.Marker = out.NextMarker; out.NextMarker == nil {
				break
			}
		}
		slices.Sort(l.want)
		if !slices.Equal(got, l.want) {
			t.Errorf("%s = %v; want %v", name, got, l.want)
		}
	}
}

func TestTagsOfResources(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	made := createMapping(t, p, ctx, mapping(queue, func(in *wire.CreateEventSourceMappingRequest) { in.Tags = map[string]string{"a": "1"} }))
	arn := *made.EventSourceMappingArn
	rested(t, p, ctx, *made.UUID)
	if _, err := p.TagResource(ctx, &wire.TagResourceRequest{Resource: arn, Tags: map[string]string{"b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.UntagResource(ctx, &wire.UntagResourceRequest{Resource: arn, TagKeys: []string{"a", "x"}}); err != nil {
		t.Fatal(err)
	}
	got, err := p.ListTags(ctx, &wire.ListTagsRequest{Resource: arn})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"b": "2"}, got.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	_, err = p.TagResource(ctx, &wire.TagResourceRequest{Resource: arn, Tags: map[string]string{}})
	wantException(t, "no tags", err, wire.InvalidParameterValue, "An error occurred and the request cannot be processed.")
	const here = "arn:aws:lambda:eu-west-1:000000000000:"
	for resource, want := range map[string]string{
		here + "event-source-mapping:" + *made.UUID + "0":                          "Event source mapping not found: ",
		"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + *made.UUID: "Event source mapping not found: ",
		here + "capacity-provider:c":                                               "Capacity provider not found: ",
		here + "function:absent":                                                   "Function not found: ",
	} {
		for name, call := range map[string]func() error{
			"TagResource": func() error {
				_, err := p.TagResource(ctx, &wire.TagResourceRequest{Resource: resource, Tags: map[string]string{"a": "b"}})
				return err
			},
			"UntagResource": func() error {
				_, err := p.UntagResource(ctx, &wire.UntagResourceRequest{Resource: resource, TagKeys: []string{"a"}})
				return err
			},
			"ListTags": func() error { _, err := p.ListTags(ctx, &wire.ListTagsRequest{Resource: resource}); return err },
		} {
			wantException(t, name+" "+resource, call(), wire.ResourceNotFound, want+resource)
		}
	}
	csc := here + "code-signing-config:csc-0123456789abcdefg"
	_, err = p.ListTags(ctx, &wire.ListTagsRequest{Resource: csc})
	wantException(t, "ListTags "+csc, err, wire.ResourceNotFound, "The Lambda code signing configuration "+csc+" can not be found.")
}
