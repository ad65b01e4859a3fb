package control

import (
	"encoding/json"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// sourceSettings are the members that creating and updating an event source
// mapping share. Nil is absent: the default on create, unchanged on update.
type sourceSettings struct {
	BatchSize, Window, Parallelization *int64
	RecordAge, Retries, Tumbling       *int64
	Bisect                             *bool
	Destination                        *wire.DestinationConfig
	Filters                            *wire.FilterCriteria
	Access                             []wire.SourceAccessConfiguration
	ResponseTypes                      []string
	ManagedKafka                       *wire.AmazonManagedKafkaEventSourceConfig
	SelfManagedKafka                   *wire.SelfManagedKafkaEventSourceConfig
	Scaling                            *wire.ScalingConfig
	DocumentDB                         *wire.DocumentDBEventSourceConfig
	KMSKeyARN                          *string
	Metrics                            *wire.EventSourceMappingMetricsConfig
	Logging                            *wire.EventSourceMappingLoggingConfig
	Pollers                            *wire.ProvisionedPollerConfig
}

// errUnsupportedParameter is AWS's answer to a setting that the kind of source
// does not have.
func errUnsupportedParameter(name string) error {
	return wire.InvalidParameterValue.Errorf("Unsupported %s parameter for given event source mapping type.", name)
}

// errMissingParameter is AWS's answer to a setting that the kind of source needs.
func errMissingParameter(name string) error {
	return wire.InvalidParameterValue.Errorf("Required '%s' parameter is missing.", name)
}

// checkDestination refuses what no source has: it is looked at before the
// source itself (recorded).
func (s sourceSettings) checkDestination() error {
	if s.Destination != nil && s.Destination.OnSuccess != nil {
		return errUnsupportedParameter("DestinationConfig")
	}
	return nil
}

// check refuses settings that the kind of source does not have.
func (s sourceSettings) check(kind lamina.SourceKind) error {
	ordered := kind.Streams() || kind.Kafka() // what has offsets to go back to
	for _, setting := range []struct {
		name        string
		given, fits bool
	}{
		{"DestinationConfig", s.Destination != nil && s.Destination.OnFailure != nil && s.Destination.OnFailure.Destination != nil, ordered},
		{"ParallelizationFactor", s.Parallelization != nil, kind.Streams()},
		{"MaximumRecordAgeInSeconds", s.RecordAge != nil, ordered},
		{"MaximumRetryAttempts", s.Retries != nil, ordered},
		{"BisectBatchOnFunctionError", s.Bisect != nil, ordered},
		{"TumblingWindowInSeconds", s.Tumbling != nil, kind.Streams()},
		{"FunctionResponseTypes", len(s.ResponseTypes) > 0, ordered || kind == lamina.SourceSQS},
		{"SourceAccessConfigurations", len(s.Access) > 0, kind.Kafka() || kind == lamina.SourceMQ || kind == lamina.SourceDocumentDB},
		{"AmazonManagedKafkaEventSourceConfig", s.ManagedKafka != nil, kind == lamina.SourceManagedKafka},
		{"SelfManagedKafkaEventSourceConfig", s.SelfManagedKafka != nil, kind == lamina.SourceSelfManagedKafka},
		{"ScalingConfig", s.Scaling != nil && s.Scaling.MaximumConcurrency != nil, kind == lamina.SourceSQS},
		{"DocumentDBEventSourceConfig", s.DocumentDB != nil, kind == lamina.SourceDocumentDB},
		{"MetricsConfig", s.Metrics != nil && len(s.Metrics.Metrics) > 0, ordered || kind == lamina.SourceSQS},
		{"LoggingConfig", s.Logging != nil, kind.Kafka()},
		{"ProvisionedPollerConfig", s.Pollers != nil && *s.Pollers != (wire.ProvisionedPollerConfig{}), kind.Kafka() || kind == lamina.SourceSQS},
	} {
		if setting.given && !setting.fits {
			return errUnsupportedParameter(setting.name)
		}
	}
	if s.RecordAge != nil && *s.RecordAge > -1 && *s.RecordAge < 60 {
		return wire.InvalidParameterValue.Errorf("MaximumRecordAgeInSeconds must be -1 or between 60 and 604800.")
	}
	for _, f := range filtersOf(s.Filters) {
		if f.Pattern == nil || !validPattern(*f.Pattern) {
			return wire.InvalidParameterValue.Errorf("Invalid filter pattern definition.")
		}
	}
	return nil
}

func filtersOf(c *wire.FilterCriteria) []wire.Filter {
	if c == nil {
		return nil
	}
	return c.Filters
}

// apply puts the settings into a source: one without a batch size is new and
// gets the defaults of its kind first.
func (s sourceSettings) apply(to *lamina.EventSource) error {
	if err := s.check(to.Kind); err != nil {
		return err
	}
	if to.BatchSize == 0 {
		sourceDefaults(to)
	}
	set(&to.BatchSize, s.BatchSize)
	replace(&to.BatchingWindow, s.Window)
	replace(&to.Parallelization, s.Parallelization)
	replace(&to.MaximumRecordAge, s.RecordAge)
	replace(&to.MaximumRetries, s.Retries)
	replace(&to.BisectOnError, s.Bisect)
	replace(&to.TumblingWindow, s.Tumbling)
	if s.Destination != nil && s.Destination.OnFailure != nil {
		to.OnFailure = ptr(value(s.Destination.OnFailure.Destination))
	}
	if s.Filters != nil {
		to.Filters = nil
		for _, f := range s.Filters.Filters {
			to.Filters = append(to.Filters, *f.Pattern)
		}
	}
	if s.ResponseTypes != nil {
		to.ResponseTypes = s.ResponseTypes
	}
	if s.Access != nil {
		to.Access = nil
		for _, a := range s.Access {
			to.Access = append(to.Access, lamina.SourceAccess{Type: value(a.Type), URI: value(a.URI)})
		}
	}
	if s.KMSKeyARN != nil {
		to.KMSKeyARN = filled(*s.KMSKeyARN)
	}
	if s.Scaling != nil {
		to.MaximumConcurrent = s.Scaling.MaximumConcurrency
	}
	if s.Metrics != nil {
		to.Metrics = s.Metrics.Metrics
	}
	if s.Logging != nil {
		to.LogLevel = s.Logging.SystemLogLevel
	}
	s.applyKafka(to)
	if s.DocumentDB != nil {
		to.DocumentDB = &lamina.DocumentDBSource{
			Database: value(s.DocumentDB.DatabaseName), Collection: s.DocumentDB.CollectionName, FullDocument: s.DocumentDB.FullDocument,
		}
		if to.DocumentDB.FullDocument == nil {
			to.DocumentDB.FullDocument = ptr("Default")
		}
	}
	return checkBatch(*to)
}

func (s sourceSettings) applyKafka(to *lamina.EventSource) {
	var group *string
	var registry *wire.KafkaSchemaRegistryConfig
	switch {
	case s.ManagedKafka != nil:
		group, registry = s.ManagedKafka.ConsumerGroupId, s.ManagedKafka.SchemaRegistryConfig
	case s.SelfManagedKafka != nil:
		group, registry = s.SelfManagedKafka.ConsumerGroupId, s.SelfManagedKafka.SchemaRegistryConfig
	}
	set(&to.ConsumerGroup, group)
	if registry != nil {
		to.Registry = &lamina.SchemaRegistry{URI: value(registry.SchemaRegistryURI), Format: value(registry.EventRecordFormat)}
		for _, a := range registry.AccessConfigs {
			to.Registry.Access = append(to.Registry.Access, lamina.SourceAccess{Type: value(a.Type), URI: value(a.URI)})
		}
		for _, v := range registry.SchemaValidationConfigs {
			to.Registry.Validations = append(to.Registry.Validations, value(v.Attribute))
		}
	}
	if s.Pollers != nil {
		to.Pollers = nil
		if *s.Pollers != (wire.ProvisionedPollerConfig{}) {
			to.Pollers = &lamina.ProvisionedEventPollers{
				Minimum: s.Pollers.MinimumPollers, Maximum: s.Pollers.MaximumPollers, Group: s.Pollers.PollerGroupName,
			}
		}
	}
}

// replace is set for a field that may be absent.
func replace[T any](field **T, to *T) {
	if to != nil {
		*field = to
	}
}

// sourceDefaults are what AWS shows for a kind of source when the request says
// nothing. Kafka, MQ and DocumentDB wait half a second for a batch, which no
// number of seconds can say: there the window is absent.
func sourceDefaults(s *lamina.EventSource) {
	switch {
	case s.Kind == lamina.SourceSQS:
		s.BatchSize, s.BatchingWindow, s.ResponseTypes = 10, ptr[int64](0), []string{}
	case s.Kind.Streams():
		s.BatchSize, s.BatchingWindow, s.ResponseTypes = 100, ptr[int64](0), []string{}
		s.Parallelization, s.TumblingWindow = ptr[int64](1), ptr[int64](0)
		s.MaximumRecordAge, s.MaximumRetries = ptr[int64](-1), ptr[int64](-1)
		s.BisectOnError, s.OnFailure = ptr(false), ptr("")
	default:
		s.BatchSize = 100
	}
}

// checkBatch refuses batches that an SQS queue can't fill.
func checkBatch(s lamina.EventSource) error {
	if s.Kind != lamina.SourceSQS {
		return nil
	}
	if strings.HasSuffix(s.ARN, ".fifo") {
		if value(s.BatchingWindow) > 0 {
			return errUnsupportedParameter("MaximumBatchingWindowInSeconds")
		}
		if s.BatchSize > 10 {
			return wire.InvalidParameterValue.Errorf("Maximum batch size for FIFO queues is 10.")
		}
	}
	if s.BatchSize > 10 && value(s.BatchingWindow) == 0 {
		return wire.InvalidParameterValue.Errorf("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	}
	return nil
}

// validPattern reports whether a filter is one: an object whose members are
// such objects, or lists of values and rules.
func validPattern(pattern string) bool {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(pattern), &members); err != nil || members == nil {
		return false
	}
	return validMembers(members)
}

func validMembers(members map[string]json.RawMessage) bool {
	for name, raw := range members {
		var list []json.RawMessage
		var object map[string]json.RawMessage
		switch {
		case json.Unmarshal(raw, &list) == nil && list != nil:
			if len(list) == 0 || !all(list, func(raw json.RawMessage) bool { return validEntry(name, raw) }) {
				return false
			}
		case json.Unmarshal(raw, &object) == nil && object != nil:
			if len(object) == 0 || !validMembers(object) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func all[T any](list []T, holds func(T) bool) bool {
	for _, x := range list {
		if !holds(x) {
			return false
		}
	}
	return true
}

// validEntry reports whether one element of a list is a value or a rule. The
// elements of $or are patterns of their own.
func validEntry(name string, raw json.RawMessage) bool {
	var rule map[string]json.RawMessage
	if err := json.Unmarshal(raw, &rule); err != nil || rule == nil {
		var list []json.RawMessage
		return name != "$or" && (json.Unmarshal(raw, &list) != nil || list == nil)
	}
	if name == "$or" {
		return len(rule) > 0 && validMembers(rule)
	}
	if len(rule) != 1 {
		return false
	}
	for op, argument := range rule {
		return validRule(op, argument)
	}
	return false
}

func validRule(op string, argument json.RawMessage) bool {
	switch op {
	case "prefix", "suffix", "equals-ignore-case":
		return is[string](argument)
	case "exists":
		return is[bool](argument)
	case "anything-but":
		var rule map[string]json.RawMessage
		if json.Unmarshal(argument, &rule) == nil && rule != nil {
			if len(rule) != 1 {
				return false
			}
			for op, argument := range rule {
				return op != "anything-but" && op != "exists" && op != "numeric" && (validRule(op, argument) || is[[]string](argument))
			}
		}
		var list []json.RawMessage
		if json.Unmarshal(argument, &list) == nil && list != nil {
			return len(list) > 0
		}
		return is[string](argument) || is[float64](argument)
	case "numeric":
		return validNumeric(argument)
	}
	return false
}

// is reports whether a JSON text is a T and not null.
func is[T any](raw json.RawMessage) bool {
	var v *T
	return json.Unmarshal(raw, &v) == nil && v != nil
}

// validNumeric reads comparisons: ["=", 5] or [">", 0, "<=", 10].
func validNumeric(argument json.RawMessage) bool {
	var list []json.RawMessage
	if json.Unmarshal(argument, &list) != nil || len(list) != 2 && len(list) != 4 {
		return false
	}
	for i := 0; i < len(list); i += 2 {
		var op string
		if json.Unmarshal(list[i], &op) != nil || !is[float64](list[i+1]) {
			return false
		}
		lower, upper := op == ">" || op == ">=", op == "<" || op == "<="
		switch {
		case len(list) == 2 && (op == "=" || lower || upper):
		case len(list) == 4 && (i == 0 && lower || i == 2 && upper):
		default:
			return false
		}
	}
	return true
}
