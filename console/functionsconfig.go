package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
)

type functionSettingsData struct {
	*functionHead
	Runtimes  []string
	Roles     []string
	SnapStart bool
	Names     []string // of environment variables
	Tags      []pair
	TagsKnown bool
}

// Levels are those of log records.
func (functionSettingsData) Levels() []string {
	return []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
}

// SystemLevels are those of the platform's events.
func (functionSettingsData) SystemLevels() []string { return []string{"DEBUG", "INFO", "WARN"} }

// pair is a key with its value.
type pair struct{ Key, Value string }

func pairs(m map[string]string) []pair {
	var out []pair
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{key, m[key]})
	}
	return out
}

// pairsOf reads the rows of a form: its fields key and value. Rows without a key
// are left out; one that comes twice is refused.
func pairsOf(form url.Values) (map[string]string, error) {
	keys, values := form["key"], form["value"]
	out := map[string]string{}
	for i, key := range keys {
		key = strings.TrimSpace(key)
		value := ""
		if i < len(values) {
			value = values[i]
		}
		if key == "" {
			continue
		}
		if _, twice := out[key]; twice {
			return nil, &refusal{Status: http.StatusUnprocessableEntity, Code: "InvalidForm", Message: key + " is there twice."}
		}
		out[key] = value
	}
	return out, nil
}

// functionSettings shows the configuration, without the values of the environment.
func (c *Console) functionSettings(v *visit) error {
	h, err := v.functionHead("configuration")
	if err != nil {
		return err
	}
	d := functionSettingsData{
		functionHead: h, Runtimes: runtimesOffered(), Names: slices.Sorted(maps.Keys(h.Config.Environment.Variables)),
		SnapStart: lamina.RuntimeSnapStarts(h.Config.Runtime) && !h.Config.IsImage(),
	}
	if r := h.Config.Runtime; r != "" && !slices.Contains(d.Runtimes, r) {
		d.Runtimes = append([]string{r}, d.Runtimes...)
	}
	if h.Latest() && h.Known {
		if roles, err := v.functionRoles(); err == nil { // else the role is typed
			d.Roles = roles
		}
		tags, err := v.tagsOf(h.Config.FunctionArn)
		if d.TagsKnown = err == nil; !d.TagsKnown {
			if err := h.part("Tags", err); err != nil {
				return err
			}
		}
		d.Tags = pairs(tags)
	}
	return v.showFunction("functionconfig", "Configuration", h, d)
}

// setFunctionSettings changes what the form has otherwise than the function.
func (c *Console) setFunctionSettings(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "configuration")
	var f functionConfig
	if err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, name, "/configuration"), nil, &f); err != nil {
		return v.notDone(back, err)
	}
	in := map[string]any{}
	text := func(field, member, now string) {
		if value := strings.TrimSpace(form.Get(field)); form.Has(field) && value != now {
			in[member] = value
		}
	}
	text("description", "Description", f.Description)
	text("handler", "Handler", f.Handler)
	text("runtime", "Runtime", f.Runtime)
	text("role", "Role", f.Role)
	for _, n := range []struct {
		field, label string
		now          int64
		set          func(int64)
	}{
		{"memory", "Memory", f.MemorySize, func(n int64) { in["MemorySize"] = n }},
		{"timeout", "Timeout", f.Timeout, func(n int64) { in["Timeout"] = n }},
		{"storage", "Ephemeral storage", f.EphemeralStorage.Size, func(n int64) { in["EphemeralStorage"] = map[string]any{"Size": n} }},
	} {
		if !form.Has(n.field) {
			continue
		}
		value, err := fieldNumber(form, n.field, n.label)
		if err != nil {
			return v.notDone(back, err)
		}
		if value != n.now {
			n.set(value)
		}
	}
	if mode := form.Get("tracing"); form.Has("tracing") && mode != f.TracingConfig.Mode {
		in["TracingConfig"] = map[string]any{"Mode": mode}
	}
	if target := strings.TrimSpace(form.Get("deadletter")); form.Has("deadletter") && target != f.DeadLetterConfig.TargetArn {
		in["DeadLetterConfig"] = map[string]any{"TargetArn": target}
	}
	if apply := form.Get("snapstart"); form.Has("snapstart") && apply != f.SnapStart.ApplyOn {
		in["SnapStart"] = map[string]any{"ApplyOn": apply}
	}
	if form.Has("logformat") {
		logging := map[string]any{"LogFormat": form.Get("logformat")}
		if group := strings.TrimSpace(form.Get("loggroup")); group != "" {
			logging["LogGroup"] = group
		}
		changed := form.Get("logformat") != f.LoggingConfig.LogFormat || strings.TrimSpace(form.Get("loggroup")) != f.LoggingConfig.LogGroup
		if form.Get("logformat") == "JSON" { // text has no levels
			for field, member := range map[string]string{"applicationlevel": "ApplicationLogLevel", "systemlevel": "SystemLogLevel"} {
				if form.Get(field) != "" {
					logging[member] = form.Get(field)
				}
			}
			changed = changed || form.Get("applicationlevel") != f.LoggingConfig.ApplicationLogLevel || form.Get("systemlevel") != f.LoggingConfig.SystemLogLevel
		}
		if changed {
			in["LoggingConfig"] = logging
		}
	}
	if len(in) == 0 {
		return v.done(back, "Nothing was changed")
	}
	if err := v.configure(name, form.Get("revision"), in); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Configuration saved")
}

type functionEnvironmentData struct {
	*functionHead
	Variables []pair
	Revision  string
	Wrong     string
	Limit     int64 // bytes
}

// functionEnvironment shows names and values, and is where they are changed.
func (c *Console) functionEnvironment(v *visit) error {
	h, err := v.functionHead("configuration")
	if err != nil {
		return err
	}
	return v.showFunction("functionenv", "Environment", h, functionEnvironmentData{
		functionHead: h, Variables: pairs(h.Config.Environment.Variables), Revision: h.Config.RevisionId, Limit: int64(v.o.Limits.EnvironmentBytes),
	})
}

func (c *Console) setFunctionEnvironment(v *visit) error {
	form := v.req.PostForm
	h, err := v.functionHead("configuration")
	if err != nil {
		return err
	}
	variables, err := pairsOf(form)
	if err == nil {
		for key, value := range variables { // a browser sends each line's end as CR LF
			was := h.Config.Environment.Variables[key]
			if variables[key] = withEnds(value, lineEnds(was)); strings.ReplaceAll(value, "\r\n", "\n") == strings.ReplaceAll(was, "\r\n", "\n") {
				variables[key] = was
			}
		}
		err = v.configure(h.Name, form.Get("revision"), map[string]any{"Environment": map[string]any{"Variables": variables}})
	}
	if r, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
		d := functionEnvironmentData{functionHead: h, Revision: form.Get("revision"), Wrong: r.Message, Limit: int64(v.o.Limits.EnvironmentBytes)}
		for i, key := range form["key"] {
			if i < len(form["value"]) {
				d.Variables = append(d.Variables, pair{key, form["value"][i]})
			}
		}
		v.show(max(r.Status, http.StatusBadRequest), "functionenv", page{Title: h.title("Environment"), Room: "functions", Trail: h.trail(), Data: d})
		return nil
	}
	if err != nil {
		return err
	}
	return v.done(at("functions", h.Name, "configuration"), "Environment saved")
}

// tagsOf asks for the tags of a function.
func (v *visit) tagsOf(arn string) (map[string]string, error) {
	var out struct{ Tags map[string]string }
	err := v.lambda(v.context(), http.MethodGet, "/2017-03-31/tags/"+url.PathEscape(arn), nil, &out)
	return out.Tags, err
}

func (c *Console) setFunctionTags(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "configuration")
	tags, err := pairsOf(form)
	if err != nil {
		return v.notDone(back, err)
	}
	arn := v.functionARN(name)
	now, err := v.tagsOf(arn)
	if err != nil {
		return v.notDone(back, err)
	}
	gone := url.Values{}
	for key := range now {
		if _, stays := tags[key]; !stays {
			gone.Add("tagKeys", key)
		}
	}
	fresh := map[string]string{}
	for key, value := range tags {
		if was, there := now[key]; !there || was != value {
			fresh[key] = value
		}
	}
	if len(gone) > 0 {
		if err := v.lambda(v.context(), http.MethodDelete, "/2017-03-31/tags/"+url.PathEscape(arn)+"?"+gone.Encode(), nil, nil); err != nil {
			return v.notDone(back, err)
		}
	}
	if len(fresh) > 0 {
		if err := v.lambda(v.context(), http.MethodPost, "/2017-03-31/tags/"+url.PathEscape(arn), map[string]any{"Tags": fresh}, nil); err != nil {
			return v.notDone(back, err)
		}
	}
	return v.done(back, "Tags saved")
}

func (v *visit) functionARN(name string) string {
	return fmt.Sprintf("arn:%s:lambda:%s:%s:function:%s", lamina.Partition, v.session.Region, v.caller.Account, name)
}
