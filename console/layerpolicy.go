package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// layerGrant is a statement of a layer version's policy.
type layerGrant struct {
	Sid       string
	Effect    string
	Principal layerPrincipal
	Action    string
	Condition map[string]map[string]string
}

// layerPrincipal is "*", or whom the member AWS names.
type layerPrincipal string

// UnmarshalJSON reads both forms.
func (p *layerPrincipal) UnmarshalJSON(text []byte) error {
	var all string
	if json.Unmarshal(text, &all) == nil {
		*p = layerPrincipal(all)
		return nil
	}
	var one struct{ AWS string }
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*p = layerPrincipal(one.AWS)
	return nil
}

var rootARN = regexp.MustCompile(`^arn:[a-z-]+:iam::([0-9]{12}):root$`)

// Organization is the one that the statement is limited to, if any.
func (g layerGrant) Organization() string { return g.Condition["StringEquals"]["aws:PrincipalOrgID"] }

// Who says in words whom the statement is about.
func (g layerGrant) Who() string {
	account := rootARN.FindStringSubmatch(string(g.Principal))
	switch {
	case account != nil:
		return "Account " + account[1]
	case g.Principal != "*":
		return string(g.Principal)
	case g.Organization() != "":
		return "All accounts of organization " + g.Organization()
	}
	return "Everyone"
}

// grantForm is what people enter to share a version.
type grantForm struct {
	Sid          string
	Who          string // account, organization or everyone
	Account      string
	Organization string
}

type layerPolicyData struct {
	layerVersionHead
	grantForm
	Wrong    string
	Grants   []layerGrant
	JSON     string // the policy, indented; empty when there is none
	Revision string
}

// layerPolicy shows with whom a version is shared.
func (c *Console) layerPolicy(v *visit) error {
	return v.showLayerPolicy(http.StatusOK, grantForm{Who: "account"}, "")
}

func (v *visit) showLayerPolicy(status int, form grantForm, wrong string) error {
	h, err := v.versionAsked("policy")
	if err != nil {
		return err
	}
	d := layerPolicyData{layerVersionHead: h, grantForm: form, Wrong: wrong}
	var out struct{ Policy, RevisionId string }
	err = v.lambda(v.context(), http.MethodGet, v.policyPath(), nil, &out)
	if err != nil && !refusedWith(err, "ResourceNotFoundException") { // it is shared with nobody
		return err
	}
	if out.Policy != "" {
		var policy struct{ Statement []layerGrant }
		if err := json.Unmarshal([]byte(out.Policy), &policy); err != nil {
			return fmt.Errorf("read policy of layer: %w", err)
		}
		var text bytes.Buffer
		if err := json.Indent(&text, []byte(out.Policy), "", "  "); err != nil {
			return fmt.Errorf("indent policy of layer: %w", err)
		}
		d.Grants, d.JSON, d.Revision = policy.Statement, text.String(), out.RevisionId
	}
	v.show(status, "layerpolicy", h.page(d))
	return nil
}

// policyPath is where the API has the policy of the version that the path names.
func (v *visit) policyPath(more ...string) string {
	path := layersAPI + "/" + url.PathEscape(v.req.PathValue("name")) + "/versions/" + url.PathEscape(v.req.PathValue("version")) + "/policy"
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

// policyPage is the page that shows it.
func (v *visit) policyPage() string {
	return at("layers", v.req.PathValue("name"), "versions", v.req.PathValue("version"), "policy")
}

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

// addLayerPermission shares a version with an account, an organization or everyone.
func (c *Console) addLayerPermission(v *visit) error {
	post := v.req.PostForm
	form := grantForm{
		Sid: strings.TrimSpace(post.Get("sid")), Who: post.Get("who"), Account: strings.TrimSpace(post.Get("account")), Organization: strings.TrimSpace(post.Get("organization")),
	}
	in := map[string]string{"StatementId": form.Sid, "Action": "lambda:GetLayerVersion", "Principal": "*"}
	wrong := ""
	switch form.Who {
	case "account":
		if in["Principal"] = form.Account; !accountForm.MatchString(form.Account) {
			wrong = "An account has a number of 12 digits."
		}
	case "organization":
		if in["OrganizationId"] = form.Organization; form.Organization == "" {
			wrong = "Enter the organization's ID, which looks like o-exampleorgid."
		}
	case "everyone":
	default:
		wrong = "Choose with whom to share it."
	}
	if wrong != "" {
		return v.showLayerPolicy(http.StatusUnprocessableEntity, form, wrong)
	}
	path := v.policyPath()
	if revision := post.Get("revision"); revision != "" {
		path += "?RevisionId=" + url.QueryEscape(revision)
	}
	err := v.lambda(v.context(), http.MethodPost, path, in, nil)
	if refused, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
		return v.showLayerPolicy(refused.Status, form, refused.Message+" ("+refused.Code+")")
	}
	if err != nil {
		return err
	}
	return v.done(v.policyPage(), "Statement %s is added", form.Sid)
}

// removeLayerPermission takes a statement away.
func (c *Console) removeLayerPermission(v *visit) error {
	sid := v.req.PostForm.Get("sid")
	path := v.policyPath(sid)
	if revision := v.req.PostForm.Get("revision"); revision != "" {
		path += "?RevisionId=" + url.QueryEscape(revision)
	}
	if err := v.lambda(v.context(), http.MethodDelete, path, nil, nil); err != nil {
		return v.notDone(v.policyPage(), err)
	}
	return v.done(v.policyPage(), "Statement %s is removed", sid)
}
