package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Event source mappings are kept, checked and shown as AWS does. Nothing reads
// the sources yet: an Enabled mapping invokes no function.
func (p *Plane) registerEventSources(r *wire.Router) {
	wire.Handle(r, "CreateEventSourceMapping", p.CreateEventSourceMapping)
	wire.Handle(r, "GetEventSourceMapping", p.GetEventSourceMapping)
	wire.Handle(r, "UpdateEventSourceMapping", p.UpdateEventSourceMapping)
	wire.Handle(r, "DeleteEventSourceMapping", p.DeleteEventSourceMapping)
	wire.Handle(r, "ListEventSourceMappings", p.ListEventSourceMappings)
}

// mappingsPage is how many mappings a page holds at most (documented).
const mappingsPage = 100

var errNoMapping = wire.ResourceNotFound.Errorf("The resource you requested does not exist.")

// errMappingInUse is AWS's answer to a change of a mapping that is under way.
func errMappingInUse(verb string) error {
	return wire.ResourceInUse.Errorf("Cannot %s the event source mapping because it is in use.", verb)
}

// CreateEventSourceMapping makes a mapping, Creating until the plane settles it.
// The checks of the request come before that of the function.
func (p *Plane) CreateEventSourceMapping(ctx context.Context, in *wire.CreateEventSourceMappingRequest) (*wire.EventSourceMappingConfiguration, error) {
	asked := sourceSettings{
		BatchSize: in.BatchSize, Window: in.MaximumBatchingWindowInSeconds, Parallelization: in.ParallelizationFactor,
		Destination: in.DestinationConfig, RecordAge: in.MaximumRecordAgeInSeconds, Retries: in.MaximumRetryAttempts,
		Bisect: in.BisectBatchOnFunctionError, Tumbling: in.TumblingWindowInSeconds, Filters: in.FilterCriteria,
		Access: in.SourceAccessConfigurations, ResponseTypes: in.FunctionResponseTypes, ManagedKafka: in.AmazonManagedKafkaEventSourceConfig,
		SelfManagedKafka: in.SelfManagedKafkaEventSourceConfig, Scaling: in.ScalingConfig, DocumentDB: in.DocumentDBEventSourceConfig,
		KMSKeyARN: in.KMSKeyArn, Metrics: in.MetricsConfig, Logging: in.LoggingConfig, Pollers: in.ProvisionedPollerConfig,
	}
	if err := asked.checkDestination(); err != nil {
		return nil, err
	}
	source, err := newSource(in)
	if err != nil {
		return nil, err
	}
	m := lamina.EventSourceMapping{
		Scope: scope(ctx), UUID: newID(), Enabled: in.Enabled == nil || *in.Enabled, State: lamina.MappingCreating,
		LastModified: p.now(), Source: source,
	}
	if source.Kind.Kafka() {
		m.Source.ConsumerGroup = m.UUID
	}
	if err := asked.apply(&m.Source); err != nil {
		return nil, err
	}
	if len(in.Tags) > p.limits.TagsPerResource {
		return nil, errTooManyTags
	}
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	m.FunctionARN = ref.arn()
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if err := checkTarget(ctx, tx, ref); err != nil {
			return err
		}
		if err := claimed(ctx, tx, m, tx.InsertEventSourceMapping(ctx, m)); err != nil {
			return err
		}
		if len(in.Tags) > 0 {
			return tx.SetTags(ctx, m.ARN(), in.Tags)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("create event source mapping for %s: %w", ref.Name, err)
	}
	p.mappings.soon()
	return mappingConfiguration(m), nil
}

// newSource tells what the request wants read.
func newSource(in *wire.CreateEventSourceMappingRequest) (lamina.EventSource, error) {
	s := lamina.EventSource{ARN: value(in.EventSourceArn), Topics: in.Topics, Queues: in.Queues}
	switch {
	case in.SelfManagedEventSource != nil && s.ARN != "":
		return s, wire.InvalidParameterValue.Errorf("EventSourceArn and SelfManagedEventSource can't be given together.")
	case in.SelfManagedEventSource != nil:
		s.Kind = lamina.SourceSelfManagedKafka
		for _, servers := range in.SelfManagedEventSource.Endpoints { // one key: KAFKA_BOOTSTRAP_SERVERS
			s.Servers = servers
		}
		if in.SourceAccessConfigurations == nil {
			return s, errMissingParameter("sourceAccessConfigurations")
		}
	default:
		kind, ok := lamina.SourceKindOf(s.ARN)
		if !ok {
			return s, wire.InvalidParameterValue.Errorf("Unrecognized event source.")
		}
		s.Kind = kind
	}
	return s, startAt(&s, in)
}

// startAt checks where a source is read from first, and what part of it.
func startAt(s *lamina.EventSource, in *wire.CreateEventSourceMappingRequest) error {
	switch position := value(in.StartingPosition); {
	case s.Kind == lamina.SourceSQS && position != "":
		return wire.InvalidParameterValue.Errorf("StartingPosition is not valid for SQS event sources.")
	case s.Kind == lamina.SourceMQ && position != "":
		return errUnsupportedParameter("StartingPosition")
	case s.Kind == lamina.SourceSQS, s.Kind == lamina.SourceMQ:
	case position == "" && s.Kind == lamina.SourceSelfManagedKafka:
		s.StartingPosition = "TRIM_HORIZON"
	case position == "":
		return wire.InvalidParameterValue.Errorf("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.")
	case position == "AT_TIMESTAMP" && s.Kind == lamina.SourceDynamoDB:
		return wire.InvalidParameterValue.Errorf("Unsupported starting position for arn type: %s", s.ARN)
	case position == "AT_TIMESTAMP" && in.StartingPositionTimestamp == nil:
		return errMissingParameter("startingPositionTimestamp")
	default:
		s.StartingPosition = position
	}
	if in.StartingPositionTimestamp != nil {
		if s.StartingPosition != "AT_TIMESTAMP" {
			return errUnsupportedParameter("StartingPositionTimestamp")
		}
		s.StartingTimestamp = &in.StartingPositionTimestamp.Time
	}
	for _, part := range []struct {
		name  string
		given bool
		fits  bool
	}{
		{"Topics", in.Topics != nil, s.Kind.Kafka()},
		{"Queues", in.Queues != nil, s.Kind == lamina.SourceMQ},
		{"DocumentDBEventSourceConfig", in.DocumentDBEventSourceConfig != nil, s.Kind == lamina.SourceDocumentDB},
	} {
		if part.given && !part.fits {
			return errUnsupportedParameter(part.name)
		}
		if !part.given && part.fits {
			return errMissingParameter(strings.ToLower(part.name[:1]) + part.name[1:])
		}
	}
	return nil
}

// checkTarget locks the function of a mapping and refuses one, or a qualifier,
// that does not exist.
func checkTarget(ctx context.Context, tx *store.Tx, ref reference) error {
	_, err := tx.LockFunction(ctx, ref.FunctionID)
	if err == nil {
		_, err = version(ctx, tx, ref)
	}
	if missing(err) {
		return wire.InvalidParameterValue.Errorf("Function does not exist")
	}
	return err
}

// claimed words the conflict of two mappings of one function, which AWS does in
// three ways.
func claimed(ctx context.Context, tx *store.Tx, m lamina.EventSourceMapping, err error) error {
	if !errors.Is(err, lamina.ErrExists) {
		return err
	}
	other, err := tx.EventSourceMappingReading(ctx, m)
	if err != nil {
		return err
	}
	name := m.FunctionARN[strings.Index(m.FunctionARN, ":function:")+len(":function:"):]
	switch {
	case m.Source.Kind == lamina.SourceSQS:
		return wire.ResourceConflict.Errorf(`An event source mapping with SQS arn (" %s ") and function (" %s ") already exists. Please update or delete the existing mapping with UUID %s`,
			m.Source.ARN, name, other.UUID)
	case m.Source.Kind.Kafka():
		read := strings.Join(m.Source.Servers, ",")
		if m.Source.ARN != "" {
			read = m.Source.ARN
		}
		return wire.ResourceConflict.Errorf(`An event source mapping with event source ("%s"), function ("%s"), topics ("%s") already exists. Please update or delete the existing mapping with UUID %s`,
			read, m.FunctionARN, strings.Join(m.Source.Topics, ","), other.UUID)
	}
	return wire.ResourceConflict.Errorf(`The event source arn (" %s ") and function (" %s ") provided mapping already exists. Please update or delete the existing mapping with UUID %s`,
		m.Source.ARN, name, other.UUID)
}

// GetEventSourceMapping describes a mapping.
func (p *Plane) GetEventSourceMapping(ctx context.Context, in *wire.GetEventSourceMappingRequest) (*wire.EventSourceMappingConfiguration, error) {
	var m lamina.EventSourceMapping
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		m, err = tx.EventSourceMapping(ctx, scope(ctx), in.UUID)
		return err
	})
	if missing(err) {
		return nil, errNoMapping
	}
	if err != nil {
		return nil, fmt.Errorf("get event source mapping: %w", err)
	}
	return mappingConfiguration(m), nil
}

// UpdateEventSourceMapping changes what is given of a mapping. Turning it on or
// off is Enabling or Disabling, any other change Updating.
func (p *Plane) UpdateEventSourceMapping(ctx context.Context, in *wire.UpdateEventSourceMappingRequest) (*wire.EventSourceMappingConfiguration, error) {
	asked := sourceSettings{
		BatchSize: in.BatchSize, Window: in.MaximumBatchingWindowInSeconds, Parallelization: in.ParallelizationFactor,
		Destination: in.DestinationConfig, RecordAge: in.MaximumRecordAgeInSeconds, Retries: in.MaximumRetryAttempts,
		Bisect: in.BisectBatchOnFunctionError, Tumbling: in.TumblingWindowInSeconds, Filters: in.FilterCriteria,
		Access: in.SourceAccessConfigurations, ResponseTypes: in.FunctionResponseTypes, ManagedKafka: in.AmazonManagedKafkaEventSourceConfig,
		SelfManagedKafka: in.SelfManagedKafkaEventSourceConfig, Scaling: in.ScalingConfig, DocumentDB: in.DocumentDBEventSourceConfig,
		KMSKeyARN: in.KMSKeyArn, Metrics: in.MetricsConfig, Logging: in.LoggingConfig, Pollers: in.ProvisionedPollerConfig,
	}
	var m lamina.EventSourceMapping
	err := p.store.Update(ctx, func(tx *store.Tx) (err error) {
		if m, err = tx.LockEventSourceMapping(ctx, scope(ctx), in.UUID); err != nil {
			if missing(err) {
				return errNoMapping
			}
			return err
		}
		if err := asked.checkDestination(); err != nil {
			return err
		}
		if err := asked.apply(&m.Source); err != nil {
			return err
		}
		if in.FunctionName != nil {
			ref, err := resolve(ctx, *in.FunctionName, nil)
			if err != nil {
				return err
			}
			if err := checkTarget(ctx, tx, ref); err != nil {
				return err
			}
			m.FunctionARN = ref.arn()
		}
		if !m.Rests() {
			return errMappingInUse("update")
		}
		m.State, m.LastModified = lamina.MappingUpdating, p.now()
		if in.Enabled != nil && *in.Enabled != m.Enabled {
			m.Enabled, m.State = *in.Enabled, lamina.MappingDisabling
			if m.Enabled {
				m.State = lamina.MappingEnabling
			}
		}
		return claimed(ctx, tx, m, tx.PutEventSourceMapping(ctx, m))
	})
	if err != nil {
		return nil, fmt.Errorf("update event source mapping %s: %w", in.UUID, err)
	}
	p.mappings.soon()
	return mappingConfiguration(m), nil
}

// DeleteEventSourceMapping starts to remove a mapping.
func (p *Plane) DeleteEventSourceMapping(ctx context.Context, in *wire.DeleteEventSourceMappingRequest) (*wire.EventSourceMappingConfiguration, error) {
	var m lamina.EventSourceMapping
	err := p.store.Update(ctx, func(tx *store.Tx) (err error) {
		m, err = tx.LockEventSourceMapping(ctx, scope(ctx), in.UUID)
		if missing(err) {
			return errNoMapping
		}
		if err != nil {
			return err
		}
		if !m.Rests() {
			return errMappingInUse("delete")
		}
		m.State, m.LastModified = lamina.MappingDeleting, p.now()
		return tx.PutEventSourceMapping(ctx, m)
	})
	if err != nil {
		return nil, fmt.Errorf("delete event source mapping %s: %w", in.UUID, err)
	}
	p.mappings.soon()
	return mappingConfiguration(m), nil
}

// ListEventSourceMappings lists mappings. A function or a source that does not
// exist has none.
func (p *Plane) ListEventSourceMappings(ctx context.Context, in *wire.ListEventSourceMappingsRequest) (*wire.ListEventSourceMappingsResponse, error) {
	after, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	filter := store.EventSourceFilter{SourceARN: value(in.EventSourceArn)}
	if in.FunctionName != nil {
		ref, err := resolve(ctx, *in.FunctionName, nil)
		if err != nil {
			return nil, err
		}
		filter.FunctionARN = ref.arn()
	}
	limit := pageSize(in.MaxItems, mappingsPage, mappingsPage)
	var mappings []lamina.EventSourceMapping
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		mappings, err = tx.EventSourceMappings(ctx, scope(ctx), filter, after[0], limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list event source mappings: %w", err)
	}
	mappings, more := page(mappings, limit)
	out := &wire.ListEventSourceMappingsResponse{EventSourceMappings: make([]wire.EventSourceMappingConfiguration, 0, len(mappings))}
	for _, m := range mappings {
		out.EventSourceMappings = append(out.EventSourceMappings, *mappingConfiguration(m))
	}
	if more {
		out.NextMarker = marker(mappings[len(mappings)-1].UUID)
	}
	return out, nil
}

// mappingConfiguration is a mapping as every answer shows it.
func mappingConfiguration(m lamina.EventSourceMapping) *wire.EventSourceMappingConfiguration {
	s := m.Source
	out := &wire.EventSourceMappingConfiguration{
		UUID: &m.UUID, EventSourceMappingArn: ptr(m.ARN()), FunctionArn: &m.FunctionARN, EventSourceArn: filled(s.ARN),
		State: &m.State, StateTransitionReason: ptr("USER_INITIATED"), LastModified: &wire.Epoch{Time: m.LastModified},
		BatchSize: &s.BatchSize, MaximumBatchingWindowInSeconds: s.BatchingWindow, ParallelizationFactor: s.Parallelization,
		StartingPosition: filled(s.StartingPosition), MaximumRecordAgeInSeconds: s.MaximumRecordAge, MaximumRetryAttempts: s.MaximumRetries,
		BisectBatchOnFunctionError: s.BisectOnError, TumblingWindowInSeconds: s.TumblingWindow, FunctionResponseTypes: s.ResponseTypes,
		Topics: s.Topics, Queues: s.Queues, KMSKeyArn: s.KMSKeyARN,
	}
	if s.Kind.Streams() {
		out.StateTransitionReason = ptr("User action")
	}
	if s.Kind != lamina.SourceSQS {
		out.LastProcessingResult = ptr("No records processed")
	}
	if s.StartingTimestamp != nil {
		out.StartingPositionTimestamp = &wire.Epoch{Time: *s.StartingTimestamp}
	}
	if s.OnFailure != nil {
		out.DestinationConfig = &wire.DestinationConfig{OnFailure: &wire.OnFailure{Destination: filled(*s.OnFailure)}}
	}
	if len(s.Filters) > 0 {
		out.FilterCriteria = &wire.FilterCriteria{}
		for _, pattern := range s.Filters {
			out.FilterCriteria.Filters = append(out.FilterCriteria.Filters, wire.Filter{Pattern: &pattern})
		}
	}
	for _, a := range s.Access {
		out.SourceAccessConfigurations = append(out.SourceAccessConfigurations, wire.SourceAccessConfiguration{Type: &a.Type, URI: &a.URI})
	}
	if s.MaximumConcurrent != nil {
		out.ScalingConfig = &wire.ScalingConfig{MaximumConcurrency: s.MaximumConcurrent}
	}
	if len(s.Metrics) > 0 {
		out.MetricsConfig = &wire.EventSourceMappingMetricsConfig{Metrics: s.Metrics}
	}
	if s.LogLevel != nil {
		out.LoggingConfig = &wire.EventSourceMappingLoggingConfig{SystemLogLevel: s.LogLevel}
	}
	if s.Pollers != nil {
		out.ProvisionedPollerConfig = &wire.ProvisionedPollerConfig{
			MinimumPollers: s.Pollers.Minimum, MaximumPollers: s.Pollers.Maximum, PollerGroupName: s.Pollers.Group,
		}
	}
	if s.DocumentDB != nil {
		out.DocumentDBEventSourceConfig = &wire.DocumentDBEventSourceConfig{
			DatabaseName: &s.DocumentDB.Database, CollectionName: s.DocumentDB.Collection, FullDocument: s.DocumentDB.FullDocument,
		}
	}
	kafkaConfiguration(out, s)
	return out
}

// kafkaConfiguration shows what only Kafka clusters have.
func kafkaConfiguration(out *wire.EventSourceMappingConfiguration, s lamina.EventSource) {
	switch s.Kind {
	case lamina.SourceManagedKafka:
		out.AmazonManagedKafkaEventSourceConfig = &wire.AmazonManagedKafkaEventSourceConfig{
			ConsumerGroupId: &s.ConsumerGroup, SchemaRegistryConfig: registryConfig(s.Registry),
		}
	case lamina.SourceSelfManagedKafka:
		out.SelfManagedEventSource = &wire.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": s.Servers}}
		out.SelfManagedKafkaEventSourceConfig = &wire.SelfManagedKafkaEventSourceConfig{
			ConsumerGroupId: &s.ConsumerGroup, SchemaRegistryConfig: registryConfig(s.Registry),
		}
	}
}

func registryConfig(r *lamina.SchemaRegistry) *wire.KafkaSchemaRegistryConfig {
	if r == nil {
		return nil
	}
	out := &wire.KafkaSchemaRegistryConfig{SchemaRegistryURI: filled(r.URI), EventRecordFormat: filled(r.Format)}
	for _, a := range r.Access {
		out.AccessConfigs = append(out.AccessConfigs, wire.KafkaSchemaRegistryAccessConfig{Type: filled(a.Type), URI: filled(a.URI)})
	}
	for _, attribute := range r.Validations {
		out.SchemaValidationConfigs = append(out.SchemaValidationConfigs, wire.KafkaSchemaValidationConfig{Attribute: &attribute})
	}
	return out
}
