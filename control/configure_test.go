package control_test

import (
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

func TestVPC(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	point := "arn:aws:elasticfilesystem:eu-west-1:000000000000:access-point/fsap-00000000000000001"
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) {
		in.VpcConfig = &wire.VpcConfig{SubnetIds: []string{"subnet-1"}, SecurityGroupIds: []string{"sg-1"}, Ipv6AllowedForDualStack: ptr(true)}
		in.FileSystemConfigs = []wire.FileSystemConfig{{Arn: point, LocalMountPath: "/mnt/a"}}
	})
	update := func(in wire.UpdateFunctionConfigurationRequest) (*wire.FunctionConfiguration, error) {
		settled(t, p, ctx, "fn")
		in.FunctionName = "fn"
		return p.UpdateFunctionConfiguration(ctx, &in)
	}
	_, err := update(wire.UpdateFunctionConfigurationRequest{VpcConfig: &wire.VpcConfig{SubnetIds: []string{}}})
	wantException(t, "half a VPC", err, wire.InvalidParameterValue, "SecurityGroupIds and SubnetIds must coexist or be both empty list.")
	none := &wire.VpcConfig{SubnetIds: []string{}, SecurityGroupIds: []string{}}
	_, err = update(wire.UpdateFunctionConfigurationRequest{VpcConfig: none})
	wantException(t, "out of the VPC", err, wire.InvalidParameterValue, "Function VPC configuration cannot be removed with access point "+point+" referenced.")
	moved, err := update(wire.UpdateFunctionConfigurationRequest{VpcConfig: &wire.VpcConfig{SubnetIds: []string{"subnet-2"}}})
	if err != nil || moved.VpcConfig.SubnetIds[0] != "subnet-2" || !slices.Equal(moved.VpcConfig.SecurityGroupIds, []string{"sg-1"}) || !*moved.VpcConfig.Ipv6AllowedForDualStack {
		t.Errorf("new subnet only = %v, %v; want the rest as it was", moved, err)
	}
	shell, err := update(wire.UpdateFunctionConfigurationRequest{VpcConfig: none, FileSystemConfigs: []wire.FileSystemConfig{}})
	if err != nil {
		t.Fatal(err)
	}
	if v := shell.VpcConfig; v == nil || v.SubnetIds == nil || len(v.SubnetIds) != 0 || len(v.SecurityGroupIds) != 0 || *v.VpcId != "" || *v.Ipv6AllowedForDualStack {
		t.Errorf("VpcConfig after removal = %v; want an empty shell", v)
	}
	_, err = update(wire.UpdateFunctionConfigurationRequest{FileSystemConfigs: []wire.FileSystemConfig{{Arn: point, LocalMountPath: "/mnt/a"}}})
	wantException(t, "file system without a VPC", err, wire.InvalidParameterValue, "Function must be configured to execute in a VPC to reference access point "+point+".")
}

// docs/quirks.md#absent-or-empty
func TestEnvironmentAbsentOrEmpty(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	empty := &wire.Environment{Variables: map[string]string{}}
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.Environment = empty })
	for _, c := range []struct {
		name   string
		update *wire.Environment
		want   map[string]string // nil for no Environment
	}{
		{"made with none, said so", nil, map[string]string{}},
		{"still none, said so", empty, map[string]string{}},
		{"some", &wire.Environment{Variables: map[string]string{"AB": "1"}}, map[string]string{"AB": "1"}},
		{"no variables are spoken of", &wire.Environment{}, map[string]string{"AB": "1"}},
		{"all taken away", empty, nil},
	} {
		settled(t, p, ctx, "fn")
		out, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", Environment: c.update})
		if err != nil {
			t.Fatal(err)
		}
		if (out.Environment == nil) != (c.want == nil) || (c.want != nil && !maps.Equal(out.Environment.Variables, c.want)) {
			t.Errorf("%s: Environment = %v; want %v", c.name, out.Environment, c.want)
		}
	}
}

// The message about a large environment shows it as the client wrote it.
func TestLargeEnvironment(t *testing.T) {
	t.Parallel()
	p, ctx := plane(t, &fakeInvoker{})
	create(t, p, ctx, "fn")
	settled(t, p, ctx, "fn")
	router := wire.NewRouter(wire.Options{})
	p.Register(router)
	const most = 4096
	compact := `{"SMALL":"ok","LARGE":"` + strings.Repeat("x", most) + `"}`
	compact = strings.Replace(compact, strings.Repeat("x", len(compact)-most), "", 1)
	for _, c := range []struct {
		name, variables string
		status          int
	}{
		{"as large as allowed", compact, 200},
		{"one byte more", strings.Replace(compact, `xx"`, `xxx"`, 1), 400},
	} {
		settled(t, p, ctx, "fn")
		spaced := strings.NewReplacer(`:`, ` : `, `,`, ` , `).Replace(c.variables)
		req := httptest.NewRequest("PUT", "/2015-03-31/functions/fn/configuration", strings.NewReader(`{"Environment":{"Variables":`+spaced+`}}`))
		caller, _ := identity.CallerOf(ctx)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, req.WithContext(identity.WithCaller(req.Context(), caller)))
		if w.Code != c.status {
			t.Errorf("%s: status %d: %.200s; want %d", c.name, w.Code, w.Body, c.status)
		}
		if want := strings.ReplaceAll("exceeded the 4KB limit. String measured: "+c.variables, `"`, `\"`); c.status == 400 && !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %.300s; want the variables in the request's order", c.name, w.Body)
		}
	}
}
