package lamina

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourceKindOf(t *testing.T) {
	t.Parallel()
	for arn, want := range map[string]SourceKind{
		"arn:aws:sqs:eu-west-1:000000000000:orders":                              SourceSQS,
		"arn:aws:sqs:eu-west-1:000000000000:orders.fifo":                         SourceSQS,
		"arn:aws:kinesis:eu-west-1:000000000000:stream/s":                        SourceKinesis,
		"arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/c:1":           SourceKinesis,
		"arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2025-01-01T00:0": SourceDynamoDB,
		"arn:aws:dynamodb:eu-west-1:000000000000:table/t":                        "",
		"arn:aws:kafka:eu-west-1:000000000000:cluster/c/uuid-1":                  SourceManagedKafka,
		"arn:aws:mq:eu-west-1:000000000000:broker:b:b-1":                         SourceMQ,
		"arn:aws:rds:eu-west-1:000000000000:cluster:c":                           SourceDocumentDB,
		"arn:aws:rds:eu-west-1:000000000000:db:c":                                "",
		"arn:aws:s3:::bucket":                                                    "",
		"arn:aws:sqs:eu-west-1:000000000000:":                                    "",
		"":                                                                       "",
	} {
		got, ok := SourceKindOf(arn)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("SourceKindOf(%s) = %q; want %q", arn, got, want)
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	collection := "orders"
	for name, c := range map[string]struct {
		source EventSource
		want   []Claim
	}{
		"a queue as a whole":         {EventSource{ARN: "q"}, []Claim{{"q", ""}}},
		"a queue of a broker":        {EventSource{ARN: "b", Queues: []string{"x"}}, []Claim{{"b", "x"}}},
		"servers in order, and once": {EventSource{Servers: []string{"b", "a", "b"}, Topics: []string{"t"}}, []Claim{{"a", "t"}, {"b", "t"}}},
		"a collection":               {EventSource{ARN: "c", DocumentDB: &DocumentDBSource{Database: "d", Collection: &collection}}, []Claim{{"c", "d.orders"}}},
	} {
		if diff := cmp.Diff(c.want, c.source.Claims()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMappingSettled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state   string
		enabled bool
		want    string
		rests   bool
	}{
		{MappingCreating, true, MappingEnabled, false},
		{MappingCreating, false, MappingDisabled, false},
		{MappingUpdating, false, MappingDisabled, false},
		{MappingDisabling, false, MappingDisabled, false},
		{MappingEnabling, true, MappingEnabled, false},
		{MappingDeleting, true, "", false},
		{MappingEnabled, true, MappingEnabled, true},
	} {
		m := EventSourceMapping{State: c.state, Enabled: c.enabled}
		if got := m.Settled(); got != c.want || m.Rests() != c.rests {
			t.Errorf("%s, enabled %t: Settled = %q, Rests = %t; want %q, %t", c.state, c.enabled, got, m.Rests(), c.want, c.rests)
		}
	}
}
