package browser

import (
	"net/url"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// testStacks: a stack is looked at from all sides, and deleted, with mouse and
// keyboard; the overview tells of it while it is under way.
func testStacks(t *testing.T, s *testkit.Server) {
	a := newAccount(t, s, "stacks")
	template := `{"Description":"A handle","Parameters":{"Size":{"Type":"String","Default":"small"}},"Resources":{"Handle":{"Type":"AWS::CloudFormation::WaitConditionHandle"}},
		"Outputs":{"Chosen":{"Value":{"Ref":"Size"},"Description":"What was chosen"}}}`
	for _, name := range []string{"first", "second"} {
		a.query(t, "cloudformation", cloudFormation, url.Values{"Action": {"CreateStack"}, "StackName": {name}, "TemplateBody": {template}})
		a.settled(t, name, "CREATE_COMPLETE")
	}
	p := open(t, s.URL)
	p.signInAs(a.id, a.secret, "")
	p.find("heading", "Overview")
	p.accessible()
	p.click("link", "Stacks")
	p.at(console + "stacks")
	p.holds(`document.querySelectorAll("#stacks tbody tr").length === 2`)
	p.fill("Search", "second")
	p.holds(`[...document.querySelectorAll("#stacks tbody tr")].filter((r) => !r.hidden).length === 1`)
	p.click("link", "second")
	p.holds(`document.querySelector("#outputs").innerText.includes("small")`)
	p.shows("What was chosen")
	for page, text := range map[string]string{"Resources": "AWS::CloudFormation::WaitConditionHandle", "Events": "CREATE_IN_PROGRESS", "Template": "What was chosen"} {
		p.click("link", page)
		p.shows(text)
		p.accessible()
	}
	p.click("link", "Delete")
	p.find("button", "Delete stack second")
	p.accessible()
	p.click("button", "Delete stack second")
	p.shows("Stack second is being deleted")
	p.shows("DELETE_COMPLETE") // without a reload

	p.visit(console + "stacks")
	p.tabTo("link", "first")
	p.press("Enter")
	p.shows("CREATE_COMPLETE")
	p.tabTo("link", "Delete")
	p.press("Enter")
	p.tabTo("button", "Delete stack first")
	p.press("Enter")
	p.shows("Stack first is being deleted")
	p.shows("DELETE_COMPLETE")
	p.tabTo("link", "Stacks")
	p.press("Enter")
	p.shows("No stacks yet")
	p.click("checkbox", "Deleted ones too")
	p.holds(`document.querySelectorAll("#stacks tbody tr").length === 2`)
}
