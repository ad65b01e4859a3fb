package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestTerraform applies testdata/terraform, finds nothing to change, changes,
// imports what it has made Terraform forget and finds nothing to change, and
// destroys.
func TestTerraform(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Terraform, testkit.AWSCLI, testkit.Sandbox, testkit.Python)
	s := testkit.Start(t, testkit.Options{})
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/terraform")); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"layer1.zip": testkit.Zip(t, testkit.File{Name: "python/said.py", Body: "said = 1\n"}),
		"layer2.zip": testkit.Zip(t, testkit.File{Name: "python/said.py", Body: "said = 2\n"}),
		"app1.zip":   testkit.Zip(t, testkit.File{Name: "app.py", Body: "import said\ndef handler(event, context): return dict(event, code=1, layer=said.said)\n"}),
		"app2.zip":   testkit.Zip(t, testkit.File{Name: "app.py", Body: "import said\ndef handler(event, context): return dict(event, code=2, layer=said.said)\n"}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	terraform := terraformIn(t, s, dir)
	shell := func(script string) string {
		t.Helper()
		return strings.TrimSpace(command(t, s, dir, "bash", "-euo", "pipefail", "-c", script))
	}
	type object = map[string]any
	outputs := func() (values object) {
		t.Helper()
		var got map[string]struct{ Value any }
		if err := json.Unmarshal([]byte(terraform("output", "-json")), &got); err != nil {
			t.Fatal(err)
		}
		values = object{}
		for name, o := range got {
			values[name] = o.Value
		}
		return values
	}

	terraform("init", "-no-color")
	terraform("apply", "-no-color", "-auto-approve")
	terraform("plan", "-no-color", "-detailed-exitcode") // 2 when it would change something
	key := outputs()
	arn := shell(fmt.Sprintf("AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s aws sts get-caller-identity --query Arn --output text", key["key"], key["secret"]))
	if want := "arn:aws:iam::000000000000:user/team/ann"; arn != want {
		t.Errorf("the user's key is of %s; want %s", arn, want)
	}

	second := []string{"-no-color", "-auto-approve", "-var=n=2"}
	terraform(append([]string{"apply", "-refresh=false"}, second...)...) // the plan has just looked
	got := outputs()
	delete(got, "key")
	delete(got, "secret")
	want := object{
		"stack": "number,2",
		"lambda": object{
			"functions": []any{"full", "image", "plain", "signed", "snap"}, "version": "2", "sha": true, "alias": "2", "invoke": true,
			"layer": 2.0, "layer_sha": true, "object": "2", "url": true, "policy": "Warn", "snap": "Off",
			"invoked": object{"n": 2.0, "code": 2.0, "layer": 2.0}, "asked": object{"n": 2.0, "code": 2.0, "layer": 2.0},
		},
		"iam": object{
			"role": "arn:aws:iam::000000000000:role/team/app", "roles": []any{"app"}, "user": "ann", "users": []any{"ann"},
			"profile": true, "policy": "v2", "alias": "lamina-tests", "issuer": "arn:aws:iam::000000000000:root", "members": []any{"ann"}, "keys": []any{"Active"},
		},
		"logs": object{"arn": "arn:aws:logs:eu-central-1:000000000000:log-group:/aws/lambda/terraformed", "left": []any{"left/behind"}},
		"s3":   object{"region": "eu-central-1", "text": "number 2", "keys": []any{"dir/a text, with odd characters: ü+&.txt"}, "policy": "s3:GetObject"},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("outputs differ (-got +want):\n%s", diff)
	}
	if got := shell("aws iam get-user --user-name ann --query User.Arn --output text"); got != "arn:aws:iam::000000000000:user/other/ann" {
		t.Errorf("the user is %s; want it in /other/", got)
	}
	versions := shell("aws iam list-policy-versions --policy-arn arn:aws:iam::000000000000:policy/team/logs --query 'Versions[].[VersionId,IsDefaultVersion]' --output text")
	if want := "v2\tTrue\nv1\tFalse"; versions != want {
		t.Errorf("versions of the policy = %q; want %q", versions, want)
	}

	imports, err := os.ReadFile(filepath.Join(dir, "imports", "imports.tf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "imports.tf"), imports, 0o644); err != nil {
		t.Fatal(err)
	}
	forget := []string{"state", "rm"}
	for line := range strings.Lines(string(imports)) {
		if address, ok := strings.CutPrefix(line, "  to = "); ok && !strings.Contains(address, ".imported") {
			forget = append(forget, strings.TrimSpace(address))
		}
	}
	terraform(forget...)
	out := terraform(append([]string{"apply"}, second...)...)
	if want := fmt.Sprintf("Apply complete! Resources: %d imported, 0 added, 0 changed, 0 destroyed.", len(forget)-2+1); !strings.Contains(out, want) {
		t.Errorf("after the imports, terraform says\n%s\nwant %s", out, want)
	}

	terraform(append([]string{"destroy", "-refresh=false"}, second...)...)
	left := shell(`
q() { aws "$1" "$2" --output text --query "$3" "${@:4}"; }
q lambda list-functions 'Functions[].FunctionName'; q lambda list-event-source-mappings 'EventSourceMappings[].UUID'
q lambda list-code-signing-configs 'CodeSigningConfigs[].CodeSigningConfigId'; q lambda list-layers 'Layers[].[LayerName,LatestMatchingVersion.Version]'
q iam list-users 'Users[].UserName'; q iam list-roles 'Roles[].RoleName'; q iam list-groups 'Groups[].GroupName'
q iam list-instance-profiles 'InstanceProfiles[].InstanceProfileName'; q iam list-policies 'Policies[].PolicyName' --scope Local
q iam list-account-aliases AccountAliases; q s3api list-buckets 'Buckets[].Name'; q logs describe-log-groups 'logGroups[].logGroupName'`)
	left = strings.Join(strings.Fields(strings.ReplaceAll(left, "None", "")), " ")
	// Version 1 was imported, and so destroyed.
	if want := "kept 2 left/behind"; left != want {
		t.Errorf("after destroy there is %q; want %q, both by skip_destroy", left, want)
	}
}
