package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/server"
)

type pullLayerVerb struct {
	ARN     string `arg:"" name:"arn" help:"ARN of a layer version."`
	Profile string `placeholder:"NAME" help:"Profile of the AWS configuration to ask AWS with; without it the credentials are found as the AWS CLI finds them."`
	From    string `placeholder:"URL" help:"Lambda to pull from instead of AWS: another Lamina, for example."`
	Remove  bool   `help:"Take a version away again that was pulled. Functions that have it keep it."`
	output
	stackServer
}

const layersInternalPath = "/_lamina/layers/"

type pulledLayersVerb struct {
	output
	stackServer
}

// Run lists what was pulled.
func (v *pulledLayersVerb) Run(ctx context.Context, s streams) error {
	target, err := v.client()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.endpoint+strings.TrimSuffix(layersInternalPath, "/"), nil)
	if err != nil {
		return err
	}
	nothing := sha256.Sum256(nil)
	text, err := target.send(ctx, server.SigningService, req, nothing[:])
	if err != nil {
		return v.explain(told("list what was pulled", err))
	}
	var all struct{ LayerVersions []server.PulledLayerVersion }
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return v.answer(s.out, all, func(out io.Writer) error {
		table := columns(out)
		fmt.Fprintln(table, "VERSION\tSIZE\tCREATED\tFOR\tDESCRIPTION")
		for _, one := range all.LayerVersions {
			fits := strings.Join(append(one.CompatibleRuntimes, one.CompatibleArchitectures...), ", ")
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", one.LayerVersionArn, bytesText(one.CodeSize), one.CreatedDate.UTC().Format(time.RFC3339), printable(fits), printable(one.Description))
		}
		return table.Flush()
	})
}

// Run pulls a layer version, and prints its ARN.
func (v *pullLayerVerb) Run(ctx context.Context, s streams) error {
	ref, ok := lamina.ParseLayerReference(v.ARN)
	if !ok || ref.Account == "" || ref.Version < 1 {
		return hint(fmt.Errorf("%s is no ARN of a layer version", v.ARN), "give one like arn:aws:lambda:eu-central-1:123456789012:layer:geo:3")
	}
	if !strings.HasPrefix(v.ARN, "arn:"+lamina.Partition+":") {
		return fmt.Errorf("%s is of another partition than %s, the only one that Lamina has", v.ARN, lamina.Partition)
	}
	target, err := v.client()
	if err != nil {
		return err
	}
	if v.Remove {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, target.endpoint+layersInternalPath+url.PathEscape(v.ARN), nil)
		if err != nil {
			return err
		}
		nothing := sha256.Sum256(nil)
		if _, err := target.send(ctx, server.SigningService, req, nothing[:]); err != nil {
			return v.explain(told("remove "+v.ARN, err))
		}
		fmt.Fprintf(s.notes, "removed %s\n", v.ARN)
		return nil
	}
	source, err := v.source(ctx, ref.Region)
	if err != nil {
		return err
	}
	var answer layerAnswer
	if err := source.do(ctx, http.MethodGet, layersPath+"?find=LayerVersion&Arn="+url.QueryEscape(v.ARN), nil, &answer); err != nil {
		return explainSource(fmt.Errorf("look for %s at %s: %w", v.ARN, source.endpoint, err), v.Profile)
	}
	if answer.LayerVersionArn != v.ARN {
		return fmt.Errorf("look for %s at %s: it answers %q", v.ARN, source.endpoint, answer.LayerVersionArn)
	}
	file, err := download(ctx, source.http, answer.Content.Location, s.notes, v.ARN, lamina.DefaultLimits().Unzipped+zipSlack)
	if err != nil {
		return fmt.Errorf("download %s: %w", v.ARN, err)
	}
	l := &openLayer{name: v.ARN, file: file, temporary: true}
	defer l.close()
	if err := l.read(ctx, lamina.DefaultLimits()); err != nil {
		return err
	}
	if l.sha != answer.Content.CodeSha256 {
		return fmt.Errorf("download %s: its CodeSha256 is %s, and the bytes have %s", v.ARN, answer.Content.CodeSha256, l.sha)
	}
	kept, err := v.keep(ctx, s.notes, target, answer, l)
	if err != nil {
		return v.explain(told("keep "+v.ARN, err))
	}
	what := "pulled"
	if !kept.New {
		what = "was here already:"
	}
	fmt.Fprintf(s.notes, "%s %s: %s, %s unzipped\n", what, kept.LayerVersionArn, bytesText(l.size), bytesText(l.tree.Size))
	return v.answer(s.out, kept, func(out io.Writer) error {
		_, err := fmt.Fprintln(out, kept.LayerVersionArn)
		return err
	})
}

// source is the Lambda that has the layer: AWS, asked with the user's own
// credentials, which go nowhere else.
func (v *pullLayerVerb) source(ctx context.Context, region string) (*apiClient, error) {
	options := []func(*config.LoadOptions) error{config.WithRegion(region)}
	if v.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(v.Profile))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, hint(fmt.Errorf("read the AWS configuration: %w", err), "check --profile and ~/.aws/config")
	}
	key, err := c.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, hint(fmt.Errorf("find AWS credentials: %w", err), "give --profile, or sign in: aws sso login")
	}
	endpoint := "https://lambda." + region + ".amazonaws.com"
	if v.From != "" {
		u, err := url.Parse(v.From)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, hint(fmt.Errorf("--from %s is no address of a server", v.From), "give one like http://127.0.0.1:9900")
		}
		endpoint = strings.TrimSuffix(v.From, "/")
	}
	client := &http.Client{}
	if b, ok := c.HTTPClient.(*awshttp.BuildableClient); ok { // has AWS_CA_BUNDLE and the like in it
		client.Transport = b.GetTransport()
	}
	return &apiClient{
		endpoint: endpoint, region: region, http: client,
		key: aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, SessionToken: key.SessionToken},
	}, nil
}

// explainSource adds what helps when AWS refuses.
func explainSource(err error, profile string) error {
	refused, ok := errors.AsType[*apiError](err)
	switch {
	case !ok:
		return err
	case refused.Code == "UnrecognizedClientException" || refused.Code == "InvalidSignatureException" || refused.Code == "ExpiredTokenException":
		if profile == "" {
			return hint(err, "the credentials are not this service's: give --profile, or set AWS_ACCESS_KEY_ID to a key of AWS")
		}
		return hint(err, "the profile's credentials are not valid now: aws sso login --profile %s, or check them", profile)
	case refused.Status == http.StatusForbidden:
		return hint(err, "the caller needs lambda:GetLayerVersion, and the layer version a permission for the caller's account")
	}
	return err
}

// keep has the server keep what was pulled.
func (v *pullLayerVerb) keep(ctx context.Context, notes io.Writer, target *stackClient, answer layerAnswer, l *openLayer) (kept server.KeptLayer, err error) {
	sum, err := base64.StdEncoding.DecodeString(l.sha)
	if err != nil {
		return kept, err
	}
	created, err := time.Parse("2006-01-02T15:04:05.000-0700", answer.CreatedDate)
	if err != nil {
		return kept, fmt.Errorf("its CreatedDate is %q: %w", answer.CreatedDate, err)
	}
	p := server.PulledLayer{
		CodeSha256: lamina.Digest(sum), Description: answer.Description, LicenseInfo: answer.LicenseInfo,
		CompatibleRuntimes: answer.CompatibleRuntimes, CompatibleArchitectures: answer.CompatibleArchitectures, CreatedDate: created,
	}
	bar := newProgress(notes, "keeping "+v.ARN, l.size)
	defer bar.close()
	body := io.TeeReader(io.NewSectionReader(l.file, 0, l.size), bar)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, target.endpoint+layersInternalPath+url.PathEscape(v.ARN)+"?"+p.Query().Encode(), body)
	if err != nil {
		return kept, err
	}
	req.ContentLength = l.size
	req.Header.Set("Content-Type", "application/zip")
	text, err := target.send(ctx, server.SigningService, req, sum)
	if err != nil {
		return kept, err
	}
	return kept, json.Unmarshal(text, &kept)
}
