package console

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// aliasConfig is an alias as Lambda answers it.
type aliasConfig struct {
	AliasArn, Name, FunctionVersion, Description, RevisionId string
	RoutingConfig                                            struct {
		AdditionalVersionWeights map[string]float64
	}
}

// Second is the version beside the alias's own, with its share in percent.
func (a aliasConfig) Second() (out struct{ Version, Percent string }) {
	for version, weight := range a.RoutingConfig.AdditionalVersionWeights { // one at most
		out.Version, out.Percent = version, percentText(weight)
	}
	return out
}

// First is the share of the alias's own version in percent.
func (a aliasConfig) First() string {
	for _, weight := range a.RoutingConfig.AdditionalVersionWeights {
		return percentText(1 - weight)
	}
	return "100"
}

// Has reports whether the alias leads to a version, some of the time at least.
func (a aliasConfig) Has(version string) bool {
	_, second := a.RoutingConfig.AdditionalVersionWeights[version]
	return second || a.FunctionVersion == version
}

func percentText(weight float64) string {
	return strconv.FormatFloat(math.Round(weight*10000)/100, 'f', -1, 64)
}

// versionsOf lists a function's versions, $LATEST first and then the newest.
func (v *visit) versionsOf(name string) ([]functionConfig, error) {
	var all []functionConfig
	_, err := every(func(marker string) (string, error) {
		var out struct {
			Versions   []functionConfig
			NextMarker string
		}
		err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, name, "/versions", "MaxItems", "50", "Marker", marker), nil, &out)
		for i := range out.Versions {
			out.Versions[i].Environment.Variables = nil // most of it, and lists don't show it
		}
		all = append(all, out.Versions...)
		return out.NextMarker, err
	})
	slices.SortStableFunc(all, func(a, b functionConfig) int { return cmp.Compare(versionNumber(b.Version), versionNumber(a.Version)) })
	return all, err
}

// versionNumber is that of a version; $LATEST is above all.
func versionNumber(version string) int64 {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

func (v *visit) aliasesOf(name string) ([]aliasConfig, error) {
	var all []aliasConfig
	_, err := every(func(marker string) (string, error) {
		var out struct {
			Aliases    []aliasConfig
			NextMarker string
		}
		err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, name, "/aliases", "MaxItems", "50", "Marker", marker), nil, &out)
		all = append(all, out.Aliases...)
		return out.NextMarker, err
	})
	return all, err
}

type functionVersionsData struct {
	*functionHead
	Rows    []versionRow
	Aliases []aliasConfig
	Numbers []string // of published versions, for choices
	window
}

type versionRow struct {
	functionConfig
	Aliases []string
}

func (c *Console) functionVersions(v *visit) error {
	h, err := v.functionHead("versions")
	if err != nil {
		return err
	}
	d := functionVersionsData{functionHead: h}
	versions, err := v.versionsOf(h.Name)
	if err := h.part("Versions", err); err != nil {
		return err
	}
	d.Aliases, err = v.aliasesOf(h.Name)
	if err := h.part("Aliases", err); err != nil {
		return err
	}
	var rows []versionRow
	for _, f := range versions {
		if f.Version == "$LATEST" {
			continue
		}
		if len(d.Numbers) < 2*rowsPerPage {
			d.Numbers = append(d.Numbers, f.Version)
		}
		row := versionRow{functionConfig: f}
		for _, a := range d.Aliases {
			if a.Has(f.Version) {
				row.Aliases = append(row.Aliases, a.Name)
			}
		}
		rows = append(rows, row)
	}
	d.Rows, d.window = windowOf(rows, v.req.URL.Query())
	return v.showFunction("functionversions", "Versions", h, d)
}

func (c *Console) publishFunctionVersion(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "versions")
	in := map[string]any{"Description": strings.TrimSpace(form.Get("description"))}
	for field, member := range map[string]string{"revision": "RevisionId", "sha256": "CodeSha256"} {
		if form.Get(field) != "" {
			in[member] = form.Get(field)
		}
	}
	var out functionConfig
	if err := v.lambda(v.context(), http.MethodPost, functionPath(of2015, name, "/versions"), in, &out); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Version %s is what $LATEST is now", out.Version)
}

type versionDeleteData struct {
	*functionHead
	Version     string
	Aliases     []aliasConfig // that lead to it
	Provisioned []provisionedConfig
	Mappings    []mappingConfig
}

// deleteFunctionVersionPage tells what a version's end means.
func (c *Console) deleteFunctionVersionPage(v *visit) error {
	h, err := v.functionHead("versions")
	if err != nil {
		return err
	}
	d := versionDeleteData{functionHead: h, Version: v.req.PathValue("version")}
	aliases, err := v.aliasesOf(h.Name)
	if err := h.part("Aliases", err); err != nil {
		return err
	}
	for _, a := range aliases {
		if a.Has(d.Version) {
			d.Aliases = append(d.Aliases, a)
		}
	}
	provisioned, err := v.provisionedOf(h.Name)
	if err := h.part("Provisioned concurrency", err); err != nil {
		return err
	}
	for _, p := range provisioned {
		if p.Qualifier() == d.Version {
			d.Provisioned = append(d.Provisioned, p)
		}
	}
	mappings, err := v.mappingsOf(h.Name)
	if err := h.part("Event source mappings", err); err != nil {
		return err
	}
	for _, m := range mappings {
		if strings.HasSuffix(m.FunctionArn, ":"+h.Name+":"+d.Version) {
			d.Mappings = append(d.Mappings, m)
		}
	}
	return v.showFunction("functionversiondelete", "Delete version "+d.Version, h, d)
}

func (c *Console) deleteFunctionVersion(v *visit) error {
	name, version := v.req.PathValue("name"), v.req.PathValue("version")
	if _, err := strconv.ParseUint(version, 10, 63); err != nil { // or it would be the function that goes
		return v.notDone(at("functions", name, "versions"), &refusal{Code: "InvalidForm", Message: "A published version has a number."})
	}
	if err := v.lambda(v.context(), http.MethodDelete, functionPath(of2015, name, "", "Qualifier", version), nil, nil); err != nil {
		return v.notDone(at("functions", name, "versions", version, "delete"), err)
	}
	return v.done(at("functions", name, "versions"), "Version %s deleted", version)
}

// routingOf reads an alias's versions and weight of a form.
func routingOf(form url.Values) (map[string]any, error) {
	weights := map[string]float64{}
	if second := form.Get("second"); second != "" {
		text := strings.ReplaceAll(strings.TrimSpace(form.Get("weight")), ",", ".")
		percent, err := strconv.ParseFloat(text, 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return nil, &refusal{Status: http.StatusUnprocessableEntity, Code: "InvalidForm", Message: "The share of the second version is a number of percent from 0 to 100."}
		}
		weights[second] = math.Round(percent*100) / 10000
	}
	return map[string]any{
		"FunctionVersion": form.Get("version"), "Description": strings.TrimSpace(form.Get("description")),
		"RoutingConfig": map[string]any{"AdditionalVersionWeights": weights},
	}, nil
}

func (c *Console) newFunctionAlias(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	back := at("functions", name, "versions")
	in, err := routingOf(form)
	if err != nil {
		return v.notDone(back, err)
	}
	in["Name"] = strings.TrimSpace(form.Get("name"))
	if err := v.lambda(v.context(), http.MethodPost, functionPath(of2015, name, "/aliases"), in, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Alias %s created", in["Name"])
}

type functionAliasData struct {
	*functionHead
	Alias   aliasConfig
	Numbers []string
}

func (c *Console) functionAlias(v *visit) error {
	h, err := v.functionHead("versions")
	if err != nil {
		return err
	}
	d := functionAliasData{functionHead: h}
	name := v.req.PathValue("alias")
	if err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, h.Name, "/aliases/"+url.PathEscape(name)), nil, &d.Alias); err != nil {
		return err
	}
	versions, err := v.versionsOf(h.Name)
	if err := h.part("Versions", err); err != nil {
		return err
	}
	for _, f := range versions {
		if f.Version != "$LATEST" && (len(d.Numbers) < 2*rowsPerPage || d.Alias.Has(f.Version)) {
			d.Numbers = append(d.Numbers, f.Version)
		}
	}
	return v.showFunction("functionalias", "Alias "+name, h, d)
}

// setFunctionAlias changes an alias, unless somebody did since the form was shown.
func (c *Console) setFunctionAlias(v *visit) error {
	form, name, alias := v.req.PostForm, v.req.PathValue("name"), v.req.PathValue("alias")
	back := at("functions", name, "aliases", alias)
	in, err := routingOf(form)
	if err != nil {
		return v.notDone(back, err)
	}
	if form.Get("revision") != "" {
		in["RevisionId"] = form.Get("revision")
	}
	if err := v.lambda(v.context(), http.MethodPut, functionPath(of2015, name, "/aliases/"+url.PathEscape(alias)), in, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(at("functions", name, "versions"), "Alias %s saved", alias)
}

func (c *Console) deleteFunctionAlias(v *visit) error {
	name, alias := v.req.PathValue("name"), v.req.PathValue("alias")
	back := at("functions", name, "versions")
	if err := v.lambda(v.context(), http.MethodDelete, functionPath(of2015, name, "/aliases/"+url.PathEscape(alias)), nil, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Alias %s deleted", alias)
}

// qualifierChoices are what a part of a function can be chosen by: the aliases and
// the newest versions.
func (v *visit) qualifierChoices(h *functionHead) (out []string, err error) {
	aliases, err := v.aliasesOf(h.Name)
	if err := h.part("Aliases", err); err != nil {
		return nil, err
	}
	for _, a := range aliases {
		out = append(out, a.Name)
	}
	versions, err := v.versionsOf(h.Name)
	if err := h.part("Versions", err); err != nil {
		return nil, err
	}
	for _, f := range versions {
		if f.Version != "$LATEST" && len(out) < 2*rowsPerPage {
			out = append(out, f.Version)
		}
	}
	if h.Qualifier != "" && !slices.Contains(out, h.Qualifier) {
		out = append(out, h.Qualifier)
	}
	return out, nil
}
