package lamina

import (
	"slices"
	"strings"
	"time"
)

// States of an event source mapping. Those that end in -ing are under way.
const (
	MappingCreating  = "Creating"
	MappingEnabled   = "Enabled"
	MappingEnabling  = "Enabling"
	MappingDisabled  = "Disabled"
	MappingDisabling = "Disabling"
	MappingUpdating  = "Updating"
	MappingDeleting  = "Deleting"
)

// EventSourceMapping sends what a queue or stream holds to a function. It
// outlives the function: its FunctionARN may name nothing any more.
type EventSourceMapping struct {
	Scope Scope
	UUID  string
	// FunctionARN repeats the qualifier of the request, if it had one.
	FunctionARN string
	// Enabled is what the client asked for, State how far that has come.
	Enabled      bool
	State        string
	LastModified time.Time
	Source       EventSource
}

// ARN returns the ARN of the mapping.
func (m EventSourceMapping) ARN() string {
	return "arn:" + Partition + ":lambda:" + m.Scope.Region + ":" + m.Scope.Account + ":event-source-mapping:" + m.UUID
}

// Rests reports whether nothing is under way: the mapping may be changed.
func (m EventSourceMapping) Rests() bool {
	return m.State == MappingEnabled || m.State == MappingDisabled
}

// Settled is the state in which a mapping under way ends. It is empty for one
// that is being deleted.
func (m EventSourceMapping) Settled() string {
	switch {
	case m.State == MappingDeleting:
		return ""
	case m.Enabled:
		return MappingEnabled
	}
	return MappingDisabled
}

// SourceKind is what kind of service an event source is.
type SourceKind string

// The kinds of event sources. SelfManagedKafka is the one without an ARN.
const (
	SourceSQS              SourceKind = "SQS"
	SourceKinesis          SourceKind = "Kinesis"
	SourceDynamoDB         SourceKind = "DynamoDB"
	SourceManagedKafka     SourceKind = "Kafka"
	SourceSelfManagedKafka SourceKind = "SelfManagedKafka"
	SourceMQ               SourceKind = "MQ"
	SourceDocumentDB       SourceKind = "DocumentDB"
)

// SourceKindOf tells the kind from the ARN of a queue, stream, cluster or
// broker. It reports false for ARNs of what is no event source.
func SourceKindOf(arn string) (SourceKind, bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[5] == "" {
		return "", false
	}
	resource := parts[5]
	switch parts[2] {
	case "sqs":
		return SourceSQS, !strings.ContainsAny(resource, ":/")
	case "kinesis":
		return SourceKinesis, strings.HasPrefix(resource, "stream/")
	case "dynamodb":
		return SourceDynamoDB, strings.HasPrefix(resource, "table/") && strings.Contains(resource, "/stream/")
	case "kafka":
		return SourceManagedKafka, strings.HasPrefix(resource, "cluster/") || strings.HasPrefix(resource, "vpc-connection/")
	case "mq":
		return SourceMQ, strings.HasPrefix(resource, "broker:")
	case "rds":
		return SourceDocumentDB, strings.HasPrefix(resource, "cluster:")
	}
	return "", false
}

// Streams reports whether the source is read shard by shard, in order.
func (k SourceKind) Streams() bool { return k == SourceKinesis || k == SourceDynamoDB }

// Kafka reports whether the source is a Kafka cluster, whoever runs it.
func (k SourceKind) Kafka() bool { return k == SourceManagedKafka || k == SourceSelfManagedKafka }

// EventSource is what a mapping reads and how. Nil is absent: the kind of
// source has no such setting, or the client gave none and there is no default.
type EventSource struct {
	Kind              SourceKind
	ARN               string                   `json:",omitzero"` // empty for a self-managed cluster
	Servers           []string                 `json:",omitzero"` // of a self-managed cluster
	Topics            []string                 `json:",omitzero"`
	Queues            []string                 `json:",omitzero"`
	Access            []SourceAccess           `json:",omitzero"`
	ConsumerGroup     string                   `json:",omitzero"`
	Registry          *SchemaRegistry          `json:",omitzero"`
	DocumentDB        *DocumentDBSource        `json:",omitzero"`
	StartingPosition  string                   `json:",omitzero"`
	StartingTimestamp *time.Time               `json:",omitzero"`
	BatchSize         int64                    `json:",omitzero"`
	BatchingWindow    *int64                   `json:",omitzero"` // seconds
	Parallelization   *int64                   `json:",omitzero"`
	MaximumRecordAge  *int64                   `json:",omitzero"` // seconds, -1 for any
	MaximumRetries    *int64                   `json:",omitzero"` // -1 for no end
	BisectOnError     *bool                    `json:",omitzero"`
	TumblingWindow    *int64                   `json:",omitzero"` // seconds
	OnFailure         *string                  `json:",omitzero"` // ARN; empty where the answer shows an empty destination
	ResponseTypes     []string                 `json:",omitzero"`
	Filters           []string                 `json:",omitzero"` // patterns
	KMSKeyARN         *string                  `json:",omitzero"`
	MaximumConcurrent *int64                   `json:",omitzero"`
	Metrics           []string                 `json:",omitzero"`
	LogLevel          *string                  `json:",omitzero"`
	Pollers           *ProvisionedEventPollers `json:",omitzero"`
}

// SourceAccess is a secret or network that reaches a source.
type SourceAccess struct{ Type, URI string }

// SchemaRegistry says where the schemas of Kafka records are.
type SchemaRegistry struct {
	URI         string         `json:",omitzero"`
	Format      string         `json:",omitzero"`
	Access      []SourceAccess `json:",omitzero"`
	Validations []string       `json:",omitzero"` // attributes
}

// DocumentDBSource says what of a DocumentDB cluster is read.
type DocumentDBSource struct {
	Database     string  `json:",omitzero"`
	Collection   *string `json:",omitzero"`
	FullDocument *string `json:",omitzero"`
}

// ProvisionedEventPollers reserves pollers.
type ProvisionedEventPollers struct {
	Minimum *int64  `json:",omitzero"`
	Maximum *int64  `json:",omitzero"`
	Group   *string `json:",omitzero"`
}

// Claim is a part of a source that only one mapping of a function may read.
type Claim struct {
	Source string // ARN or bootstrap server
	Part   string // topic, queue or collection; empty for the whole
}

// Claims are what the mapping reads, each once, in order.
func (s EventSource) Claims() []Claim {
	sources := s.Servers
	if s.ARN != "" {
		sources = []string{s.ARN}
	}
	parts := slices.Concat(s.Topics, s.Queues)
	if s.DocumentDB != nil {
		part := s.DocumentDB.Database
		if s.DocumentDB.Collection != nil {
			part += "." + *s.DocumentDB.Collection
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		parts = []string{""}
	}
	var claims []Claim
	for _, source := range sources {
		for _, part := range parts {
			claims = append(claims, Claim{Source: source, Part: part})
		}
	}
	slices.SortFunc(claims, func(a, b Claim) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		return strings.Compare(a.Part, b.Part)
	})
	return slices.Compact(claims)
}
