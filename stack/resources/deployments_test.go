package resources

import (
	"strings"
	"testing"
)

func TestDeployments(t *testing.T) {
	t.Parallel()
	set := New(Options{})
	group, ok := set.Type("AWS::CodeDeploy::DeploymentGroup")
	if !ok {
		t.Fatal("there are no deployment groups")
	}
	properties := func(config any) map[string]any {
		return map[string]any{"ApplicationName": "a", "ServiceRoleArn": "arn:aws:iam::111122223333:role/r", "DeploymentConfigName": config}
	}
	if err := group.Check(properties("CodeDeployDefault.LambdaAllAtOnce")); err != nil {
		t.Errorf("Check of all at once: %v", err)
	}
	if err := group.Check(properties(map[string]any{"Fn::Sub": "x"})); err != nil {
		t.Errorf("Check of what is not known yet: %v", err)
	}
	const canary = "CodeDeployDefault.LambdaCanary10Percent5Minutes"
	if err := group.Check(properties(canary)); err == nil || !strings.Contains(err.Error(), "AllAtOnce") {
		t.Errorf("Check of a canary = %v; want what is offered", err)
	}
	if _, err := group.Create(t.Context(), &Step{Properties: properties(canary)}); err == nil {
		t.Errorf("Create of a canary succeeded")
	}
	step := &Step{Stack: Stack{Name: "st"}, LogicalID: "Group", Seed: "ABCDEFGHIJKL", Properties: properties("CodeDeployDefault.LambdaAllAtOnce")}
	if made, err := group.Create(t.Context(), step); err != nil || made.PhysicalID != "st-Group-ABCDEFGHIJKL" {
		t.Errorf("Create = %+v, %v; want a name", made, err)
	}
	step.PhysicalID, step.Properties = "g", properties(canary)
	if _, err := group.Update(t.Context(), step); err == nil {
		t.Errorf("Update to a canary succeeded")
	}
}
