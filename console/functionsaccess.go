package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// urlConfig is a function URL as Lambda answers it.
type urlConfig struct {
	FunctionUrl, FunctionArn, AuthType, InvokeMode, CreationTime, LastModifiedTime string
	Cors                                                                           *struct {
		AllowCredentials                                        bool
		AllowHeaders, AllowMethods, AllowOrigins, ExposeHeaders []string
		MaxAge                                                  int64
	}
}

// Qualifier is the alias that the URL is of; empty for the function's own.
func (u urlConfig) Qualifier() string { return qualifierOf(u.FunctionArn) }

// qualifierOf is the last part of a qualified ARN of a function.
func qualifierOf(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) < 8 || parts[7] == "$LATEST" {
		return ""
	}
	return parts[7]
}

func (v *visit) urlsOf(name string) ([]urlConfig, error) {
	var all []urlConfig
	_, err := every(func(marker string) (string, error) {
		var out struct {
			FunctionUrlConfigs []urlConfig
			NextMarker         string
		}
		err := v.lambda(v.context(), http.MethodGet, functionPath("2021-10-31", name, "/urls", "MaxItems", "50", "Marker", marker), nil, &out)
		all = append(all, out.FunctionUrlConfigs...)
		return out.NextMarker, err
	})
	return all, err
}

// statement is one of a policy, as people read it.
type statement struct{ Sid, Effect, Principal, Action, Resource, Condition string }

type functionAccessData struct {
	*functionHead
	URL        *urlConfig
	Others     []urlConfig // of other aliases
	Statements []statement
	Revision   string // of the policy
	Choices    []string
	Methods    []string
}

// functionAccess shows who may reach the function, and on which URL.
func (c *Console) functionAccess(v *visit) error {
	h, err := v.functionHead("access")
	if err != nil {
		return err
	}
	d := functionAccessData{functionHead: h, Methods: strings.Fields("GET POST PUT PATCH DELETE HEAD *")}
	if d.Choices, err = v.qualifierChoices(h); err != nil {
		return err
	}
	urls, err := v.urlsOf(h.Name)
	if err := h.part("URL", err); err != nil {
		return err
	}
	for _, u := range urls {
		if u.Qualifier() == h.Qualifier {
			d.URL = &u
		} else {
			d.Others = append(d.Others, u)
		}
	}
	var out struct{ Policy, RevisionId string }
	err = v.lambda(v.context(), http.MethodGet, functionPath(of2015, h.Name, "/policy", "Qualifier", h.Qualifier), nil, &out)
	if err != nil && !refusedWith(err, "ResourceNotFoundException") {
		if err := h.part("Permissions", err); err != nil {
			return err
		}
	}
	d.Statements, d.Revision = statementsOf(out.Policy), out.RevisionId
	return v.showFunction("functionaccess", "Access", h, d)
}

// statementsOf reads a policy that Lambda keeps.
func statementsOf(policy string) []statement {
	var document struct {
		Statement []struct {
			Sid, Effect                            string
			Principal, Action, Resource, Condition json.RawMessage
		}
	}
	if json.Unmarshal([]byte(policy), &document) != nil {
		return nil
	}
	plain := func(raw json.RawMessage) string {
		var one string
		if json.Unmarshal(raw, &one) == nil {
			return one
		}
		var named map[string]string
		if json.Unmarshal(raw, &named) == nil && len(named) == 1 {
			for _, value := range named {
				return value
			}
		}
		var out bytes.Buffer
		if len(raw) == 0 || json.Compact(&out, raw) != nil {
			return ""
		}
		return out.String()
	}
	var all []statement
	for _, s := range document.Statement {
		condition := ""
		if len(s.Condition) > 0 {
			var out bytes.Buffer
			if json.Compact(&out, s.Condition) == nil {
				condition = out.String()
			}
		}
		all = append(all, statement{s.Sid, s.Effect, plain(s.Principal), plain(s.Action), plain(s.Resource), condition})
	}
	return all
}

// accessPath leads back to the access of what a form is about.
func (v *visit) accessPath() string {
	to := at("functions", v.req.PathValue("name"), "access")
	if q := v.req.PostForm.Get("qualifier"); q != "" {
		to += "?qualifier=" + url.QueryEscape(q)
	}
	return to
}

// words are the parts of a list in a form, by commas or white space.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
}

// setFunctionURL makes the function's URL, or changes it.
func (c *Console) setFunctionURL(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	qualifier := form.Get("qualifier")
	in := map[string]any{"AuthType": form.Get("auth"), "InvokeMode": form.Get("mode"), "Cors": map[string]any{}}
	if form.Get("cors") != "" {
		cors := map[string]any{
			"AllowOrigins": words(form.Get("origins")), "AllowMethods": slices.Clone(form["methods"]), "AllowHeaders": words(form.Get("headers")),
			"ExposeHeaders": words(form.Get("expose")), "AllowCredentials": form.Get("credentials") != "",
		}
		for name, value := range cors {
			if list, ok := value.([]string); ok && len(list) == 0 {
				delete(cors, name)
			}
		}
		if form.Get("maxage") != "" {
			age, err := fieldNumber(form, "maxage", "Max age")
			if err != nil {
				return v.notDone(v.accessPath(), err)
			}
			cors["MaxAge"] = age
		}
		in["Cors"] = cors
	}
	method, verb := http.MethodPut, "saved"
	if form.Get("new") != "" {
		method, verb = http.MethodPost, "created"
	}
	var out urlConfig
	if err := v.lambda(v.context(), method, functionPath("2021-10-31", name, "/url", "Qualifier", qualifier), in, &out); err != nil {
		return v.notDone(v.accessPath(), err)
	}
	if form.Get("everyone") != "" && out.AuthType == "NONE" {
		for _, p := range []map[string]any{
			{"StatementId": "FunctionURLAllowPublicAccess", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"},
			{"StatementId": "FunctionURLInvokeAllowPublicAccess", "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": true},
		} {
			err := v.lambda(v.context(), http.MethodPost, functionPath(of2015, name, "/policy", "Qualifier", qualifier), p, nil)
			if err != nil && !refusedWith(err, "ResourceConflictException") { // it is there already
				return v.notDone(v.accessPath(), err)
			}
		}
	}
	return v.done(v.accessPath(), "URL %s", verb)
}

func (c *Console) deleteFunctionURL(v *visit) error {
	name := v.req.PathValue("name")
	if err := v.lambda(v.context(), http.MethodDelete, functionPath("2021-10-31", name, "/url", "Qualifier", v.req.PostForm.Get("qualifier")), nil, nil); err != nil {
		return v.notDone(v.accessPath(), err)
	}
	return v.done(v.accessPath(), "URL deleted. Permissions that were given for it stay.")
}

func (c *Console) addFunctionPermission(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	in := map[string]any{}
	for field, member := range map[string]string{
		"statement": "StatementId", "action": "Action", "principal": "Principal", "sourcearn": "SourceArn", "sourceaccount": "SourceAccount",
		"organization": "PrincipalOrgID", "auth": "FunctionUrlAuthType", "revision": "RevisionId",
	} {
		if value := strings.TrimSpace(form.Get(field)); value != "" {
			in[member] = value
		}
	}
	if in["Action"] != "lambda:InvokeFunctionUrl" {
		delete(in, "FunctionUrlAuthType")
	}
	if err := v.lambda(v.context(), http.MethodPost, functionPath(of2015, name, "/policy", "Qualifier", form.Get("qualifier")), in, nil); err != nil {
		return v.notDone(v.accessPath(), err)
	}
	return v.done(v.accessPath(), "Permission %s added", in["StatementId"])
}

func (c *Console) removeFunctionPermission(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	sid := form.Get("statement")
	if err := v.lambda(v.context(), http.MethodDelete,
		functionPath(of2015, name, "/policy/"+url.PathEscape(sid), "Qualifier", form.Get("qualifier"), "RevisionId", form.Get("revision")), nil, nil); err != nil {
		return v.notDone(v.accessPath(), err)
	}
	return v.done(v.accessPath(), "Permission %s removed", sid)
}

// provisionedConfig is provisioned concurrency as Lambda answers it.
type provisionedConfig struct {
	FunctionArn, Status, StatusReason, LastModified                                                                              string
	RequestedProvisionedConcurrentExecutions, AvailableProvisionedConcurrentExecutions, AllocatedProvisionedConcurrentExecutions int64
}

// Qualifier is the alias or version that it is of.
func (p provisionedConfig) Qualifier() string { return qualifierOf(p.FunctionArn) }

func (v *visit) provisionedOf(name string) ([]provisionedConfig, error) {
	var all []provisionedConfig
	_, err := every(func(marker string) (string, error) {
		var out struct {
			ProvisionedConcurrencyConfigs []provisionedConfig
			NextMarker                    string
		}
		err := v.lambda(v.context(), http.MethodGet, functionPath("2019-09-30", name, "/provisioned-concurrency", "List", "ALL", "Marker", marker), nil, &out)
		all = append(all, out.ProvisionedConcurrencyConfigs...)
		return out.NextMarker, err
	})
	return all, err
}

type functionConcurrencyData struct {
	*functionHead
	Reserved      *int64
	ReservedKnown bool
	Account       *struct {
		AccountLimit struct{ ConcurrentExecutions, UnreservedConcurrentExecutions int64 }
	}
	Provisioned []provisionedConfig
	Choices     []string
}

func (c *Console) functionConcurrency(v *visit) error {
	h, err := v.functionHead("concurrency")
	if err != nil {
		return err
	}
	d := functionConcurrencyData{functionHead: h}
	var reserved struct{ ReservedConcurrentExecutions *int64 }
	err = v.lambda(v.context(), http.MethodGet, functionPath("2019-09-30", h.Name, "/concurrency"), nil, &reserved)
	d.Reserved, d.ReservedKnown = reserved.ReservedConcurrentExecutions, err == nil
	if err := h.part("Reserved concurrency", err); err != nil {
		return err
	}
	if err := h.part("Account", v.lambda(v.context(), http.MethodGet, "/2016-08-19/account-settings/", nil, &d.Account)); err != nil {
		return err
	}
	d.Provisioned, err = v.provisionedOf(h.Name)
	if err := h.part("Provisioned concurrency", err); err != nil {
		return err
	}
	if d.Choices, err = v.qualifierChoices(h); err != nil {
		return err
	}
	return v.showFunction("functionconcurrency", "Concurrency", h, d)
}

func (c *Console) setFunctionConcurrency(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "concurrency")
	path := functionPath("2017-10-31", name, "/concurrency")
	if form.Get("reserve") == "" {
		if err := v.lambda(v.context(), http.MethodDelete, path, nil, nil); err != nil {
			return v.notDone(back, err)
		}
		return v.done(back, "The function uses the account's unreserved concurrency")
	}
	n, err := fieldNumber(form, "reserved", "Reserved concurrency")
	if err == nil {
		err = v.lambda(v.context(), http.MethodPut, path, map[string]any{"ReservedConcurrentExecutions": n}, nil)
	}
	if err != nil {
		return v.notDone(back, err)
	}
	if n == 0 {
		return v.done(back, "The function is throttled: nothing runs until the reservation is more than 0")
	}
	return v.done(back, "%d reserved", n)
}

func (c *Console) setFunctionProvisioned(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "concurrency")
	qualifier := strings.TrimSpace(form.Get("qualifier"))
	path := functionPath("2019-09-30", name, "/provisioned-concurrency", "Qualifier", qualifier)
	if form.Get("action") == "delete" {
		if err := v.lambda(v.context(), http.MethodDelete, path, nil, nil); err != nil {
			return v.notDone(back, err)
		}
		return v.done(back, "Provisioned concurrency of %s ended", qualifier)
	}
	n, err := fieldNumber(form, "provisioned", "Provisioned concurrency")
	if err == nil {
		err = v.lambda(v.context(), http.MethodPut, path, map[string]any{"ProvisionedConcurrentExecutions": n}, nil)
	}
	if err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "%d provisioned for %s", n, qualifier)
}

// mappingConfig is an event source mapping as Lambda answers it.
type mappingConfig struct {
	UUID, EventSourceArn, FunctionArn, State, StateTransitionReason, LastProcessingResult string
	BatchSize                                                                             int64
}

func (v *visit) mappingsOf(name string) ([]mappingConfig, error) {
	var all []mappingConfig
	_, err := every(func(marker string) (string, error) {
		var out struct {
			EventSourceMappings []mappingConfig
			NextMarker          string
		}
		q := url.Values{"FunctionName": {name}}
		if marker != "" {
			q.Set("Marker", marker)
		}
		err := v.lambda(v.context(), http.MethodGet, "/"+of2015+"/event-source-mappings?"+q.Encode(), nil, &out)
		all = append(all, out.EventSourceMappings...)
		return out.NextMarker, err
	})
	return all, err
}

// eventConfig is what happens to asynchronous events, as Lambda answers it.
type eventConfig struct {
	FunctionArn                                    string
	MaximumRetryAttempts, MaximumEventAgeInSeconds *int64
	DestinationConfig                              struct{ OnSuccess, OnFailure struct{ Destination string } }
}

// Qualifier is what the settings are of; empty for $LATEST.
func (e eventConfig) Qualifier() string { return qualifierOf(e.FunctionArn) }

type functionEventsData struct {
	*functionHead
	Settings []eventConfig
	Mappings []mappingConfig
	Choices  []string
}

func (c *Console) functionEvents(v *visit) error {
	h, err := v.functionHead("events")
	if err != nil {
		return err
	}
	d := functionEventsData{functionHead: h}
	_, err = every(func(marker string) (string, error) {
		var out struct {
			FunctionEventInvokeConfigs []eventConfig
			NextMarker                 string
		}
		err := v.lambda(v.context(), http.MethodGet, functionPath("2019-09-25", h.Name, "/event-invoke-config/list", "Marker", marker), nil, &out)
		d.Settings = append(d.Settings, out.FunctionEventInvokeConfigs...)
		return out.NextMarker, err
	})
	if err := h.part("Asynchronous events", err); err != nil {
		return err
	}
	d.Mappings, err = v.mappingsOf(h.Name)
	if err := h.part("Event source mappings", err); err != nil {
		return err
	}
	if d.Choices, err = v.qualifierChoices(h); err != nil {
		return err
	}
	return v.showFunction("functionevents", "Events", h, d)
}

func (c *Console) setFunctionEvents(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "events")
	qualifier := form.Get("qualifier")
	path := functionPath("2019-09-25", name, "/event-invoke-config", "Qualifier", qualifier)
	if form.Get("action") == "delete" {
		if err := v.lambda(v.context(), http.MethodDelete, path, nil, nil); err != nil {
			return v.notDone(back, err)
		}
		return v.done(back, "Events are handled as by default: 2 more attempts, 6 hours")
	}
	in := map[string]any{}
	for field, member := range map[string]string{"retries": "MaximumRetryAttempts", "age": "MaximumEventAgeInSeconds"} {
		if strings.TrimSpace(form.Get(field)) == "" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(form.Get(field)), 10, 64)
		if err != nil {
			return v.notDone(back, &refusal{Code: "InvalidForm", Message: "Retries and age are whole numbers."})
		}
		in[member] = n
	}
	destinations := map[string]any{}
	for field, member := range map[string]string{"onsuccess": "OnSuccess", "onfailure": "OnFailure"} {
		if arn := strings.TrimSpace(form.Get(field)); arn != "" {
			destinations[member] = map[string]any{"Destination": arn}
		}
	}
	in["DestinationConfig"] = destinations
	if err := v.lambda(v.context(), http.MethodPut, path, in, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Settings saved")
}
