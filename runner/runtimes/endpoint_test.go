package runtimes

import (
	"slices"
	"strings"
	"testing"
)

func TestEndpointOfLaminaIsInTheEnvironment(t *testing.T) {
	t.Parallel()
	const at = "http://169.254.100.2:4566"
	for _, c := range []struct {
		name     string
		endpoint string
		own      map[string]string
		want     []string
	}{
		{"without a network", "", nil, nil},
		{"with one, for what Lamina is", at, nil, []string{
			"AWS_ENDPOINT_URL_CLOUDFORMATION=" + at, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=" + at, "AWS_ENDPOINT_URL_IAM=" + at, "AWS_ENDPOINT_URL_LAMBDA=" + at,
			"AWS_ENDPOINT_URL_S3=" + at, "AWS_ENDPOINT_URL_SSM=" + at, "AWS_ENDPOINT_URL_STS=" + at,
		}},
		{"but not where the function has chosen for all", at, map[string]string{"AWS_ENDPOINT_URL": "http://10.0.0.1"}, []string{"AWS_ENDPOINT_URL=http://10.0.0.1"}},
		{"nor where it has chosen for one", at, map[string]string{"AWS_ENDPOINT_URL_STS": "http://10.0.0.1"}, []string{
			"AWS_ENDPOINT_URL_CLOUDFORMATION=" + at, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=" + at, "AWS_ENDPOINT_URL_IAM=" + at, "AWS_ENDPOINT_URL_LAMBDA=" + at,
			"AWS_ENDPOINT_URL_S3=" + at, "AWS_ENDPOINT_URL_SSM=" + at, "AWS_ENDPOINT_URL_STS=http://10.0.0.1",
		}},
	} {
		r := Request{Endpoint: c.endpoint}
		r.Version.Config.Runtime = "provided.al2023"
		r.Version.Config.Environment = c.own
		var got []string
		for _, v := range environment(r) {
			if strings.HasPrefix(v, "AWS_ENDPOINT_URL") {
				got = append(got, v)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", c.name, got, c.want)
		}
	}
}
