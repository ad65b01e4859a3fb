package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/signing"
)

// signingProfileVerbs ask the running server: it alone may write its database.
type signingProfileVerbs struct {
	Add    addSigningProfileVerb    `cmd:"" help:"Recognize the signatures of a certificate, and of those that it issued."`
	List   listSigningProfilesVerb  `cmd:"" help:"List all versions of all signing profiles."`
	Revoke revokeSigningProfileVerb `cmd:"" help:"Recognize no signature of any version of a signing profile any more. There is no way back."`
}

// runningServer says which server a verb talks to.
type runningServer struct {
	Data   string `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Data directory of the running server."`
	Region string `env:"LAMINA_REGION" default:"us-east-1" help:"Region of the signing profiles."`
}

const signingProfilesPath = "/_lamina/signing-profiles"

// client signs as the account's root.
func (r *runningServer) client() (*apiClient, error) {
	where := settings{Data: r.Data}
	key, err := identity.LoadCredentials(where.file(keyFile))
	if err != nil {
		return nil, hint(fmt.Errorf("read the root key: %w", err), "start the server first (lamina serve --data %s), or give --data the directory it uses", r.Data)
	}
	endpoint, err := os.ReadFile(where.file(localFile))
	if err != nil {
		return nil, hint(fmt.Errorf("read the endpoint: %w", err), "start the server first: lamina serve --data %s", r.Data)
	}
	return &apiClient{
		endpoint: strings.TrimSpace(string(endpoint)), region: r.Region, service: server.SigningService, http: &http.Client{Timeout: time.Minute},
		key: aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey},
	}, nil
}

// explain adds a hint to an error of the client.
func (r *runningServer) explain(what string, err error) error {
	if refused, ok := errors.AsType[*apiError](err); ok {
		return fmt.Errorf("%s: %s", what, refused.Text)
	}
	return hint(fmt.Errorf("%s: %w", what, err), "start the server first: lamina serve --data %s", r.Data)
}

type addSigningProfileVerb struct {
	Name        string `arg:"" help:"Name of the profile: 2 to 64 letters, digits and underscores."`
	Certificate string `required:"" type:"path" help:"Certificate in PEM: a publisher's, or that of an authority that issues publishers theirs. The first in the file counts."`
	runningServer
}

// Run prints the ARN for AllowedPublishers.
func (v *addSigningProfileVerb) Run(ctx context.Context, s streams) error {
	text, err := os.ReadFile(v.Certificate)
	if err != nil {
		return hint(fmt.Errorf("read the certificate: %w", err), "name the file with the certificate with --certificate")
	}
	chain, err := signing.ParseCertificates(text)
	if err != nil {
		return hint(fmt.Errorf("read the certificate %s: %w", v.Certificate, err), "a certificate in PEM starts with -----BEGIN CERTIFICATE-----")
	}
	api, err := v.client()
	if err != nil {
		return err
	}
	// Not the file's text: a private key may be in it, too.
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0].Raw})
	var added server.SigningProfile
	if err := api.do(ctx, http.MethodPut, signingProfilesPath+"/"+url.PathEscape(v.Name), server.NewSigningProfile{Certificate: string(certificate)}, &added); err != nil {
		return v.explain("add signing profile "+v.Name, err)
	}
	fmt.Fprintln(s.out, added.Arn)
	return nil
}

type listSigningProfilesVerb struct {
	runningServer
}

// Run prints a line for each version.
func (v *listSigningProfilesVerb) Run(ctx context.Context, s streams) error {
	api, err := v.client()
	if err != nil {
		return err
	}
	var all struct{ SigningProfiles []server.SigningProfile }
	if err := api.do(ctx, http.MethodGet, signingProfilesPath, nil, &all); err != nil {
		return v.explain("list signing profiles", err)
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVERSION\tSTATE\tEXPIRES\tSUBJECT\tARN")
	for _, p := range all.SigningProfiles {
		state, expires, subject := "active", "", ""
		if p.Revoked != nil {
			state = "revoked"
		}
		if chain, err := signing.ParseCertificates([]byte(p.Certificate)); err == nil {
			expires, subject = chain[0].NotAfter.UTC().Format(time.DateOnly), chain[0].Subject.String()
			if p.Revoked == nil && time.Now().After(chain[0].NotAfter) {
				state = "expired"
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Version, state, expires, subject, p.Arn)
	}
	return table.Flush()
}

type revokeSigningProfileVerb struct {
	Name string `arg:"" help:"Name of the profile."`
	runningServer
}

// Run revokes all versions of a profile.
func (v *revokeSigningProfileVerb) Run(ctx context.Context, _ streams) error {
	api, err := v.client()
	if err != nil {
		return err
	}
	if err := api.do(ctx, http.MethodPost, signingProfilesPath+"/"+url.PathEscape(v.Name)+"/revoke", struct{}{}, nil); err != nil {
		return v.explain("revoke signing profile "+v.Name, err)
	}
	return nil
}
