package endpoint

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// notificationService is S3 as functions' policies name it.
const notificationService = "s3.amazonaws.com"

// notification is one function that learns of objects.
type notification struct {
	ID       string     `xml:"Id"`
	Function string     `xml:"CloudFunction"`
	Events   []string   `xml:"Event"`
	Filter   *keyFilter // nil for all keys
}

type keyFilter struct {
	Rules []filterRule `xml:"S3Key>FilterRule"`
}

type filterRule struct {
	Name  string
	Value string
}

type notificationConfiguration struct {
	XMLName   xml.Name       `xml:"NotificationConfiguration"`
	Space     string         `xml:"xmlns,attr,omitempty"`
	Functions []notification `xml:"CloudFunctionConfiguration"`
	Topics    []struct{}     `xml:"TopicConfiguration"`
	Queues    []struct{}     `xml:"QueueConfiguration"`
	Bridge    *struct{}      `xml:"EventBridgeConfiguration"`
}

// events are those that there are, and what stands for several.
var events = map[string][]string{
	"s3:ObjectCreated:*":                       {"ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload"},
	"s3:ObjectCreated:Put":                     {"ObjectCreated:Put"},
	"s3:ObjectCreated:Post":                    {"ObjectCreated:Post"},
	"s3:ObjectCreated:Copy":                    {"ObjectCreated:Copy"},
	"s3:ObjectCreated:CompleteMultipartUpload": {"ObjectCreated:CompleteMultipartUpload"},
	"s3:ObjectRemoved:*":                       {"ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated"},
	"s3:ObjectRemoved:Delete":                  {"ObjectRemoved:Delete"},
	"s3:ObjectRemoved:DeleteMarkerCreated":     {"ObjectRemoved:DeleteMarkerCreated"},
}

// unsent are events of S3's that never happen here.
var unsent = []string{
	"s3:ReducedRedundancyLostObject", "s3:ObjectRestore:", "s3:Replication:", "s3:LifecycleExpiration:", "s3:LifecycleTransition",
	"s3:IntelligentTiering", "s3:ObjectTagging:", "s3:ObjectAcl:Put",
}

// notificationsPerBucket is AWS's quota.
const notificationsPerBucket = 100

// checkNotifications holds a configuration to S3's rules, the last of which is
// that the functions are there and let S3 invoke them.
func checkNotifications(e *Endpoint, r *request, text []byte) ([]byte, error) {
	var c notificationConfiguration
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	switch {
	case len(c.Topics) > 0 || len(c.Queues) > 0 || c.Bridge != nil:
		return nil, errInvalid.messagef("Lamina notifies functions only: no topics, no queues and not EventBridge.")
	case len(c.Functions) > notificationsPerBucket:
		return nil, errInvalid.messagef("The maximum number of notification configurations per bucket is %d.", notificationsPerBucket)
	}
	seen := map[string]bool{}
	for i := range c.Functions {
		n := &c.Functions[i]
		if n.Function == "" || len(n.Events) == 0 {
			return nil, errMalformedXML
		}
		if n.ID == "" {
			n.ID = newID()
		}
		if len(n.ID) > 255 || seen[n.ID] {
			return nil, errInvalid.messagef("Same ID used for multiple configurations. IDs must be unique")
		}
		seen[n.ID] = true
		if err := n.check(); err != nil {
			return nil, err
		}
		for j := range i {
			if err := overlaps(&c.Functions[j], n); err != nil {
				return nil, err
			}
		}
	}
	if !strings.EqualFold(r.header("X-Amz-Skip-Destination-Validation"), "true") {
		for i := range c.Functions {
			function := c.Functions[i].Function
			if err := e.o.Functions.ServiceMayInvoke(r.ctx(), function, r.b.source()); err != nil {
				e.o.Log.LogAttrs(r.ctx(), slog.LevelDebug, "notification destination refused", slog.String("function", function), slog.Any("err", err))
				return nil, errInvalid.messagef("Unable to validate the following destination configurations").with(
					Field{"ArgumentName", function}, Field{"ArgumentValue", "Not authorized to invoke function [" + function + "]"})
			}
		}
	}
	c.XMLName, c.Space = xml.Name{}, namespace
	return marshal(c), nil
}

// check holds the events and the filter of one configuration to the rules, and
// spells the filter's names as S3 does.
func (n *notification) check() error {
	for _, event := range n.Events {
		if events[event] != nil {
			continue
		}
		if slices.ContainsFunc(unsent, func(p string) bool { return strings.HasPrefix(event, p) }) {
			return errInvalid.messagef("Lamina does not send the event '%s'.", event)
		}
		return errInvalid.messagef("The event '%s' is not supported for notifications", event)
	}
	if n.Filter != nil && len(n.Filter.Rules) == 0 {
		n.Filter = nil
	}
	if n.Filter == nil {
		return nil
	}
	seen := map[string]bool{}
	for i := range n.Filter.Rules {
		rule := &n.Filter.Rules[i]
		switch {
		case strings.EqualFold(rule.Name, "prefix"):
			rule.Name = "Prefix"
		case strings.EqualFold(rule.Name, "suffix"):
			rule.Name = "Suffix"
		default:
			return errInvalid.messagef("filter rule name must be either prefix or suffix")
		}
		if seen[rule.Name] {
			return errInvalid.messagef("Cannot specify more than one %s rule in a filter.", strings.ToLower(rule.Name))
		}
		seen[rule.Name] = true
		if len(rule.Value) > keyBytes {
			return errInvalid.messagef("Size of filter rule value cannot exceed %d bytes in UTF-8 representation", keyBytes)
		}
	}
	return nil
}

func (n *notification) filter() (prefix, suffix string) {
	if n.Filter == nil {
		return "", ""
	}
	for _, rule := range n.Filter.Rules {
		if rule.Name == "Prefix" {
			prefix = rule.Value
		} else {
			suffix = rule.Value
		}
	}
	return prefix, suffix
}

// overlaps is the error of two configurations that want the same event of the
// same key.
func overlaps(a, b *notification) error {
	if !slices.ContainsFunc(a.events(), func(event string) bool { return slices.Contains(b.events(), event) }) {
		return nil
	}
	p, s := a.filter()
	q, t := b.filter()
	prefixes := strings.HasPrefix(p, q) || strings.HasPrefix(q, p)
	suffixes := strings.HasSuffix(s, t) || strings.HasSuffix(t, s)
	switch {
	case !prefixes || !suffixes:
		return nil
	case p+s+q+t == "":
		return errInvalid.messagef("Configurations overlap. Configurations on the same bucket cannot share a common event type.")
	}
	return errInvalid.messagef("Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type.")
}

// events are what the configuration wants, each spelled out.
func (n *notification) events() (all []string) {
	for _, event := range n.Events {
		all = append(all, events[event]...)
	}
	return all
}

func (b *bucket) readNotifications() error {
	text, ok := b.Documents["notification"]
	if !ok {
		return nil
	}
	var c notificationConfiguration
	if err := xml.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("read the notifications of bucket %s: %w", b.Name, err)
	}
	b.notifications = c.Functions
	return nil
}

// source is the bucket as functions' policies know it.
func (b *bucket) source() lamina.Source {
	return lamina.Source{Service: notificationService, ARN: b.arn(), Account: b.Account}
}

// changed is an object that came or went.
type changed struct {
	key     string
	size    int64
	etag    string
	version string
}

// wanting are the configurations that want an event of a key.
func (b *bucket) wanting(event, key string) (all []*notification) {
	for i := range b.notifications {
		n := &b.notifications[i]
		prefix, suffix := n.filter()
		if strings.HasPrefix(key, prefix) && strings.HasSuffix(key, suffix) && slices.Contains(n.events(), event) {
			all = append(all, n)
		}
	}
	return all
}

func (b *bucket) wants(event, key string) bool { return len(b.wanting(event, key)) > 0 }

// notify queues an event for each function that wants it. The object is there, or
// gone, when it is called; when it fails the client has to learn of it, and to try
// again.
func (e *Endpoint) notify(r *request, event string, c changed) error {
	for _, n := range r.b.wanting(event, c.key) {
		payload, err := json.Marshal(map[string][]eventRecord{"Records": {e.record(r, n.ID, event, c)}})
		if err != nil {
			return fmt.Errorf("write an event: %w", err)
		}
		if err := e.o.Functions.AcceptEvent(r.ctx(), n.Function, r.b.source(), payload); err != nil {
			if ex, ok := errors.AsType[*wire.Exception](err); ok && wire.TooManyRequests.Is(err) {
				return &Error{Status: 503, Code: "SlowDown", Message: "Please reduce your request rate: " + ex.Message()}
			}
			return fmt.Errorf("notify %s: %w", n.Function, err)
		}
	}
	return nil
}

// eventRecord is one of a notification's records, in the order of S3's own.
type eventRecord struct {
	EventVersion      string            `json:"eventVersion"`
	EventSource       string            `json:"eventSource"`
	AWSRegion         string            `json:"awsRegion"`
	EventTime         string            `json:"eventTime"`
	EventName         string            `json:"eventName"`
	UserIdentity      principalID       `json:"userIdentity"`
	RequestParameters map[string]string `json:"requestParameters"`
	ResponseElements  map[string]string `json:"responseElements"`
	S3                eventEntity       `json:"s3"`
}

type principalID struct {
	ID string `json:"principalId"`
}

type eventEntity struct {
	SchemaVersion   string      `json:"s3SchemaVersion"`
	ConfigurationID string      `json:"configurationId"`
	Bucket          eventBucket `json:"bucket"`
	Object          eventObject `json:"object"`
}

type eventBucket struct {
	Name  string      `json:"name"`
	Owner principalID `json:"ownerIdentity"`
	ARN   string      `json:"arn"`
}

type eventObject struct {
	Key       string `json:"key"`
	Size      *int64 `json:"size,omitempty"`
	ETag      string `json:"eTag,omitempty"`
	VersionID string `json:"versionId,omitempty"`
	Sequencer string `json:"sequencer"`
}

func (e *Endpoint) record(r *request, id, event string, c changed) eventRecord {
	who := "AWS:" + r.caller.UserID
	if r.caller.Kind == "" {
		who = "Anonymous"
	}
	source := r.caller.Source
	if source == "" {
		source = "127.0.0.1" // from inside
	}
	now := e.o.Now().UTC()
	requestID := wire.RequestID(r.ctx())
	object := eventObject{
		Key:       strings.ReplaceAll(url.QueryEscape(c.key), "%2F", "/"),
		ETag:      strings.Trim(c.etag, `"`),
		VersionID: c.version,
		Sequencer: fmt.Sprintf("%012X%06X", now.UnixMilli(), e.sequence.Add(1)&0xffffff),
	}
	if strings.HasPrefix(event, "ObjectCreated:") {
		object.Size = &c.size
	}
	return eventRecord{
		EventVersion: "2.1", EventSource: "aws:s3", AWSRegion: r.b.Region, EventTime: stamp(now), EventName: event,
		UserIdentity:      principalID{who},
		RequestParameters: map[string]string{"sourceIPAddress": source},
		ResponseElements:  map[string]string{"x-amz-request-id": requestID, "x-amz-id-2": requestID},
		S3: eventEntity{
			SchemaVersion: "1.0", ConfigurationID: id, Object: object,
			Bucket: eventBucket{Name: r.name, Owner: principalID{identity.CanonicalUser(r.b.Account)}, ARN: r.b.arn()},
		},
	}
}
