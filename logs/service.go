package logs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
)

// call is one request for an operation.
type call struct {
	lamina.Scope
	body []byte
}

func (c call) group(name string) groupID { return groupID{c.Scope, name} }

// operation answers a call; a nil result is an answer without a body. Its error
// is an exception, or says that something is broken.
type operation func(s *Store, ctx context.Context, c call) (any, error)

var operations = map[string]operation{
	"CreateLogGroup":                (*Store).createLogGroup,
	"DeleteLogGroup":                (*Store).deleteLogGroup,
	"DescribeLogGroups":             (*Store).describeLogGroups,
	"PutRetentionPolicy":            (*Store).putRetentionPolicy,
	"DeleteRetentionPolicy":         (*Store).deleteRetentionPolicy,
	"AssociateKmsKey":               (*Store).associateKMSKey,
	"DisassociateKmsKey":            (*Store).disassociateKMSKey,
	"PutLogGroupDeletionProtection": (*Store).putLogGroupDeletionProtection,
	"TagResource":                   (*Store).tagResource,
	"UntagResource":                 (*Store).untagResource,
	"ListTagsForResource":           (*Store).listTagsForResource,
	"TagLogGroup":                   (*Store).tagLogGroup,
	"UntagLogGroup":                 (*Store).untagLogGroup,
	"ListTagsLogGroup":              (*Store).listTagsLogGroup,
	"CreateLogStream":               (*Store).createLogStream,
	"DeleteLogStream":               (*Store).deleteLogStream,
	"DescribeLogStreams":            (*Store).describeLogStreams,
	"PutLogEvents":                  (*Store).putLogEvents,
	"GetLogEvents":                  (*Store).getLogEvents,
	"FilterLogEvents":               (*Store).filterLogEvents,
	"DescribeMetricFilters":         (*Store).describeMetricFilters,
	"DescribeSubscriptionFilters":   (*Store).describeSubscriptionFilters,
}

// Operations names the operations that are offered, in no order.
func Operations() []string { return slices.Collect(maps.Keys(operations)) }

// declined are the operations of the service model that are not offered.
var declined = strings.Fields(`
	AssociateSourceToS3TableIntegration CancelExportTask CancelImportTask CreateDelivery CreateExportTask CreateImportTask
	CreateLogAnomalyDetector CreateLookupTable CreateScheduledQuery DeleteAccountPolicy DeleteDataProtectionPolicy
	DeleteDelivery DeleteDeliveryDestination DeleteDeliveryDestinationPolicy DeleteDeliverySource DeleteDestination
	DeleteIndexPolicy DeleteIntegration DeleteLogAnomalyDetector DeleteLookupTable DeleteMetricFilter DeleteQueryDefinition
	DeleteResourcePolicy DeleteScheduledQuery DeleteSubscriptionFilter DeleteSyslogConfiguration DeleteTransformer DescribeAccountPolicies
	DescribeConfigurationTemplates DescribeDeliveries DescribeDeliveryDestinations DescribeDeliverySources
	DescribeDestinations DescribeExportTasks DescribeFieldIndexes DescribeImportTaskBatches DescribeImportTasks
	DescribeIndexPolicies DescribeLookupTables DescribeQueries DescribeQueryDefinitions DescribeResourcePolicies
	DisassociateSourceFromS3TableIntegration GetDataProtectionPolicy GetDelivery GetDeliveryDestination
	GetDeliveryDestinationPolicy GetDeliverySource GetIntegration GetLogAnomalyDetector GetLogFields GetLogGroupFields
	GetLogObject GetLogRecord GetLookupTable GetQueryResults GetScheduledQuery GetScheduledQueryHistory GetStorageTierPolicy GetTransformer
	ListAggregateLogGroupSummaries ListAnomalies ListIntegrations ListLogAnomalyDetectors ListLogGroups
	ListLogGroupsForQuery ListScheduledQueries ListSourcesForS3TableIntegration
	ListSyslogConfigurations PutAccountPolicy
	PutBearerTokenAuthentication PutDataProtectionPolicy PutDeliveryDestination PutDeliveryDestinationPolicy
	PutDeliverySource PutDestination PutDestinationPolicy PutIndexPolicy PutIntegration PutMetricFilter PutQueryDefinition
	PutResourcePolicy PutStorageTierPolicy PutSubscriptionFilter PutSyslogConfiguration PutTransformer StartLiveTail StartQuery StopQuery TestMetricFilter
	TestTransformer UpdateAnomaly UpdateDeliveryConfiguration UpdateLogAnomalyDetector UpdateLookupTable
	UpdateScheduledQuery`)

// Answer answers a request for an operation, by its name and with its body as they
// travel in AWS's JSON protocol 1.1. The answer may be empty. Its error is an
// [*Exception], or says that something is broken.
func (s *Store) Answer(ctx context.Context, scope lamina.Scope, name string, body []byte) ([]byte, error) {
	do, ok := operations[name]
	if !ok {
		for _, d := range declined {
			if d == name {
				return nil, &Exception{Code: "NotImplementedException", Status: 501, Message: "Lamina does not offer " + name + " of CloudWatch Logs."}
			}
		}
		return nil, &Exception{Code: "UnknownOperationException", Status: 400, Message: "There is no operation " + name + "."}
	}
	out, err := do(s, ctx, call{scope, body})
	if err != nil || out == nil {
		return nil, err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

var groupARN = regexp.MustCompile(`^arn:aws[\w-]*:logs:([a-z0-9-]+):(\d{12}):log-group:([^:*]+)(:\*)?$`)

// identified is the group that a name or an ARN means.
func (c call) identified(identifier string) (groupID, error) {
	if !strings.HasPrefix(identifier, "arn:") {
		return c.group(identifier), nil
	}
	m := groupARN.FindStringSubmatch(identifier)
	if m == nil {
		return groupID{}, invalidParameter("The specified log group identifier is not valid.")
	}
	if m[1] != c.Region || m[2] != c.Account {
		return groupID{}, noGroup() // groups are shared with nobody
	}
	return c.group(m[3]), nil
}

// groupOf returns the group of a request that takes a name or an identifier.
func (s *Store) groupOf(c call, name, identifier *string) (*group, error) {
	switch {
	case name != nil && identifier != nil:
		return nil, invalidParameter("LogGroup name and LogGroup identifier are mutually exclusive parameters.")
	case name != nil:
		return s.group(c.group(*name))
	case identifier == nil:
		return nil, invalidParameter("Either LogGroup name or LogGroup identifier must be specified.")
	}
	id, err := c.identified(*identifier)
	if err != nil {
		return nil, err
	}
	return s.group(id)
}

// mark and unmark are the tokens of lists: the last name of a page.
func mark(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

func unmark(token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	name, err := base64.RawURLEncoding.DecodeString(*token)
	if err != nil || len(name) == 0 {
		return "", badToken()
	}
	return string(name), nil
}

func badToken() error { return invalidParameter("The specified nextToken is invalid.") }
