package control_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/signing"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// publisher signs archives.
type publisher struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// newPublisher makes a certificate that is valid for a day from at on. A nil
// authority makes one that signs itself and may issue others.
func newPublisher(t *testing.T, name string, at time.Time, authority *publisher) *publisher {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: authority == nil, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	issuer := &publisher{key, template}
	if authority != nil {
		issuer = authority
	} else {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{key, certificate}
}

func (p *publisher) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw})
}

func (p *publisher) sign(t *testing.T, now time.Time, data upload) upload {
	t.Helper()
	archive, err := lamina.ReadArchive(data, data.Size(), lamina.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := signing.Signer{Key: p.key, Certificates: []*x509.Certificate{p.certificate}, Now: func() time.Time { return now }}
	if err := s.Sign(t.Context(), &out, archive); err != nil {
		t.Fatal(err)
	}
	return upload{bytes.NewReader(out.Bytes())}
}

// withFile returns a copy of a zip with one more file.
func withFile(t *testing.T, data upload) upload {
	t.Helper()
	r, err := zip.NewReader(data, data.Size())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		if err := w.Copy(f); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Create("evil.py")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "import os"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return upload{bytes.NewReader(out.Bytes())}
}

// signingPlane is a plane whose clock the test moves.
type signingPlane struct {
	*control.Plane
	ctx context.Context
	now time.Time
	log bytes.Buffer
}

// onBothDatabases runs a test with a plane on SQLite, and with one on PostgreSQL.
func onBothDatabases(t *testing.T, run func(t *testing.T, p *signingPlane)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		run(t, newSigningPlane(t, store.Options{Path: database(t)}))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testkit.Need(t, testkit.Postgres)
		server, err := url.Parse(os.Getenv("LAMINA_TEST_POSTGRES"))
		if err != nil {
			t.Fatal(err)
		}
		onServer := func(statement string) {
			db, err := sql.Open("pgx", os.Getenv("LAMINA_TEST_POSTGRES"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
		name := "lamina_" + strings.ToLower(rand.Text())
		onServer("CREATE DATABASE " + name)
		t.Cleanup(func() { onServer("DROP DATABASE " + name + " WITH (FORCE)") })
		server.Path = "/" + name
		run(t, newSigningPlane(t, store.Options{URL: server.String()}))
	})
}

func newSigningPlane(t *testing.T, o store.Options) *signingPlane {
	t.Helper()
	db, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &signingPlane{now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	s.Plane = control.New(control.Options{
		Store: db, Invoker: &fakeInvoker{}, Locations: noLocations{}, Limits: lamina.DefaultLimits(),
		Log: slog.New(slog.NewTextHandler(&s.log, nil)), Now: func() time.Time { return s.now },
	})
	s.ctx = identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
	return s
}

func (s *signingPlane) addProfile(t *testing.T, name string, p *publisher) string {
	t.Helper()
	profile, err := s.AddSigningProfile(s.ctx, name, p.pem())
	if err != nil {
		t.Fatalf("AddSigningProfile(%s): %v", name, err)
	}
	return profile.ARN()
}

func (s *signingPlane) configure(t *testing.T, policy string, publishers ...string) string {
	t.Helper()
	out, err := s.CreateCodeSigningConfig(s.ctx, &wire.CreateCodeSigningConfigRequest{
		AllowedPublishers:   &wire.AllowedPublishers{SigningProfileVersionArns: publishers},
		CodeSigningPolicies: &wire.CodeSigningPolicies{UntrustedArtifactOnDeployment: &policy},
	})
	if err != nil {
		t.Fatalf("CreateCodeSigningConfig: %v", err)
	}
	return out.CodeSigningConfig.CodeSigningConfigArn
}

func (s *signingPlane) create(name, config string, zip wire.Upload, layers ...string) (*wire.FunctionConfiguration, error) {
	in := &wire.CreateFunctionRequest{
		FunctionName: name, Runtime: ptr("python3.12"), Handler: ptr("app.handler"), Role: "arn:aws:iam::000000000000:role/r",
		Code: &wire.FunctionCode{ZipFile: zip}, Layers: layers,
	}
	if config != "" {
		in.CodeSigningConfigArn = &config
	}
	return s.CreateFunction(s.ctx, in)
}

func (s *signingPlane) layer(t *testing.T, name string, zip wire.Upload) *wire.PublishLayerVersionResponse {
	t.Helper()
	out, err := s.PublishLayerVersion(s.ctx, &wire.PublishLayerVersionRequest{LayerName: name, Content: &wire.LayerVersionContentInput{ZipFile: zip}})
	if err != nil {
		t.Fatalf("PublishLayerVersion(%s): %v", name, err)
	}
	return out
}

const (
	integrityFailed = "The code signature failed the integrity check. If the integrity check fails, then Lambda blocks deployment, even if the code signing policy is set to WARN."
	checkFailed     = "The code signature failed one or more of the validation checks for signature mismatch or expiry, and the code signing policy is set to ENFORCE. Lambda blocks the deployment."
	notAccepted     = "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not configured to accept. Check the provided signature for "
)

var jobARN = regexp.MustCompile(`^arn:aws:signer:eu-west-1:000000000000:/signing-jobs/[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestSignedArchivesCarryWhoSigned(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, func(t *testing.T, s *signingPlane) {
		me := newPublisher(t, "me", s.now, nil)
		arn := s.addProfile(t, "me", me)
		if !regexp.MustCompile(`^arn:aws:signer:eu-west-1:000000000000:/signing-profiles/me/[a-zA-Z0-9]{10}$`).MatchString(arn) {
			t.Errorf("profile is %s", arn)
		}
		if again := s.addProfile(t, "me", me); again != arn {
			t.Errorf("the same certificate again is %s; want %s", again, arn)
		}
		code := me.sign(t, s.now, zipOf(t, "code"))
		layer := s.layer(t, "geo", me.sign(t, s.now, zipOf(t, "layer")))
		unsigned := s.layer(t, "plain", zipOf(t, "layer"))
		if got := value(layer.Content.SigningProfileVersionArn); got != arn {
			t.Errorf("layer is signed by %s; want %s", got, arn)
		}
		if got := value(layer.Content.SigningJobArn); !jobARN.MatchString(got) {
			t.Errorf("layer's job is %s", got)
		}
		if unsigned.Content.SigningProfileVersionArn != nil || unsigned.Content.SigningJobArn != nil {
			t.Errorf("unsigned layer carries %+v", unsigned.Content)
		}
		got, err := s.GetLayerVersion(s.ctx, &wire.GetLayerVersionRequest{LayerName: "geo", VersionNumber: 1})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(layer.Content, got.Content); diff != "" {
			t.Errorf("GetLayerVersion differs (-published +got):\n%s", diff)
		}
		// Without a code signing configuration, too, and everything may come.
		f, err := s.create("hello", "", code, *layer.LayerVersionArn, *unsigned.LayerVersionArn)
		if err != nil {
			t.Fatal(err)
		}
		if value(f.SigningProfileVersionArn) != arn || !jobARN.MatchString(value(f.SigningJobArn)) || *f.SigningJobArn == *layer.Content.SigningJobArn {
			t.Errorf("function is signed by %v in %v; want %s in a job of its own", f.SigningProfileVersionArn, f.SigningJobArn, arn)
		}
		want := []wire.Layer{
			{Arn: layer.LayerVersionArn, CodeSize: layer.Content.CodeSize, SigningProfileVersionArn: &arn, SigningJobArn: layer.Content.SigningJobArn},
			{Arn: unsigned.LayerVersionArn, CodeSize: unsigned.Content.CodeSize},
		}
		if diff := cmp.Diff(want, f.Layers); diff != "" {
			t.Errorf("layers differ (-want +got):\n%s", diff)
		}
		again, err := s.GetFunctionConfiguration(s.ctx, &wire.GetFunctionConfigurationRequest{FunctionName: "hello"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, again); diff != "" {
			t.Errorf("GetFunctionConfiguration differs (-created +got):\n%s", diff)
		}
		same, err := s.create("same", "", me.sign(t, s.now, zipOf(t, "code")))
		if err != nil || value(same.SigningJobArn) != *f.SigningJobArn {
			t.Errorf("the same signature is the job %v, %v; want %s", same, err, *f.SigningJobArn)
		}
	})
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// TestEnforceAndWarn tries every kind of archive with both policies, in every
// way to deploy it.
func TestEnforceAndWarn(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, func(t *testing.T, s *signingPlane) {
		me, stranger, other := newPublisher(t, "me", s.now, nil), newPublisher(t, "stranger", s.now, nil), newPublisher(t, "other", s.now, nil)
		lost := newPublisher(t, "lost", s.now, nil)
		authority := newPublisher(t, "authority", s.now, nil)
		employee := newPublisher(t, "employee", s.now, authority)
		old := newPublisher(t, "old", s.now.Add(-23*time.Hour), nil)
		arns := []string{s.addProfile(t, "me", me), s.addProfile(t, "authority", authority), s.addProfile(t, "lost", lost), s.addProfile(t, "old", old)}
		s.addProfile(t, "other", other) // known and not allowed
		enforce, warn := s.configure(t, "Enforce", arns...), s.configure(t, "Warn", arns...)

		plain := zipOf(t, "code")
		good := me.sign(t, s.now, plain)
		kinds := []struct {
			name    string
			zip     upload
			kind    *wire.Kind // nil: Enforce takes it
			message string
			always  bool // Warn refuses it, too
		}{
			{"signed", good, nil, "", false},
			{"signed by an employee", employee.sign(t, s.now, plain), nil, "", false},
			{"unsigned", plain, wire.CodeVerificationFailed, notAccepted, false},
			{"altered", withFile(t, good), wire.InvalidCodeSignature, integrityFailed, true},
			{"foreign", stranger.sign(t, s.now, plain), wire.CodeVerificationFailed, notAccepted, false},
			{"known, not allowed", other.sign(t, s.now, plain), wire.CodeVerificationFailed, notAccepted, false},
			{"revoked", lost.sign(t, s.now, plain), wire.CodeVerificationFailed, checkFailed, false},
			{"revoked after it was published", lost.sign(t, s.now.Add(time.Second), plain), wire.CodeVerificationFailed, checkFailed, false},
			{"expired", old.sign(t, s.now, plain), wire.CodeVerificationFailed, checkFailed, false},
		}
		layers := map[string]string{}
		publish := func(name string, zip upload) { layers[name] = *s.layer(t, "l", zip).LayerVersionArn }
		publish("revoked after it was published", lost.sign(t, s.now, plain))
		publish("expired after it was published", old.sign(t, s.now, plain))
		if err := s.RevokeSigningProfile(s.ctx, "lost"); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(2 * time.Hour) // now old's certificate has expired
		for _, k := range kinds {
			if layers[k.name] == "" {
				publish(k.name, k.zip)
			}
		}
		base := *s.layer(t, "base", zipOf(t, "base")).LayerVersionArn
		if _, err := s.create("enforced", enforce, good); err != nil {
			t.Fatal(err)
		}
		if _, err := s.create("warned", warn, good); err != nil {
			t.Fatal(err)
		}
		for i, k := range kinds {
			expect := func(how, what string, err error, kind *wire.Kind, message string) {
				t.Helper()
				if message == notAccepted {
					message += what + "."
				}
				if kind == nil && err != nil {
					t.Errorf("%s, %s: %v; want nil", k.name, how, err)
				} else if kind != nil {
					wantException(t, k.name+", "+how, err, kind, message)
				}
			}
			for _, c := range []struct {
				config, function string
				kind             *wire.Kind
			}{{enforce, "enforced", k.kind}, {warn, "warned", nil}} {
				if k.always {
					c.kind = k.kind
				}
				name := fmt.Sprint(c.function, i)
				_, err := s.create(name, c.config, k.zip)
				expect("CreateFunction "+c.function, name, err, c.kind, k.message)
				if k.kind != nil && c.kind == nil && !strings.Contains(s.log.String(), name) {
					t.Errorf("%s, %s: no warning", k.name, name)
				}
				_, err = s.create(name+"layer", c.config, good, layers[k.name])
				expect("CreateFunction with the layer "+c.function, layers[k.name], err, c.kind, k.message)
				if c.kind != nil {
					_, err = s.UpdateFunctionCode(s.ctx, &wire.UpdateFunctionCodeRequest{FunctionName: c.function, ZipFile: k.zip})
					expect("UpdateFunctionCode of a pending function", c.function, err, wire.ResourceConflict, "The operation cannot be performed at this time. The function is currently in the following state: Pending")
				}
				_, err = s.UpdateFunctionCode(s.ctx, &wire.UpdateFunctionCodeRequest{FunctionName: c.function, ZipFile: k.zip, DryRun: ptr(true)})
				expect("UpdateFunctionCode DryRun "+c.function, c.function, err, c.kind, k.message)
			}
		}
		_, err := s.create("expiredlayer", enforce, good, layers["expired after it was published"])
		wantException(t, "a layer that has expired since", err, wire.CodeVerificationFailed, checkFailed)
		_, err = s.create("secondlayer", enforce, good, layers["signed"], base)
		wantException(t, "the second layer is unsigned", err, wire.CodeVerificationFailed, notAccepted+base+".")
	})
}

// TestEnforceOnUpdate deploys to a function that is Active.
func TestEnforceOnUpdate(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, func(t *testing.T, s *signingPlane) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1) // Run sends once
		go func() { ended <- s.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		me := newPublisher(t, "me", s.now, nil)
		config := s.configure(t, "Enforce", s.addProfile(t, "me", me))
		plain := zipOf(t, "code")
		unsigned, signed := s.layer(t, "plain", plain), s.layer(t, "signed", me.sign(t, s.now, plain))
		// What is there when the configuration comes stays.
		if _, err := s.create("hello", "", plain, *unsigned.LayerVersionArn); err != nil {
			t.Fatal(err)
		}
		settled(t, s.Plane, s.ctx, "hello")
		if _, err := s.PutFunctionCodeSigningConfig(s.ctx, &wire.PutFunctionCodeSigningConfigRequest{FunctionName: "hello", CodeSigningConfigArn: config}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.UpdateFunctionConfiguration(s.ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "hello", Description: ptr("d")}); err != nil {
			t.Errorf("UpdateFunctionConfiguration without layers = %v; want nil", err)
		}
		settled(t, s.Plane, s.ctx, "hello")
		_, err := s.UpdateFunctionConfiguration(s.ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "hello", Layers: []string{*unsigned.LayerVersionArn}})
		wantException(t, "UpdateFunctionConfiguration, unsigned layer", err, wire.CodeVerificationFailed, notAccepted+*unsigned.LayerVersionArn+".")
		_, err = s.UpdateFunctionCode(s.ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "hello", ZipFile: plain})
		wantException(t, "UpdateFunctionCode, unsigned", err, wire.CodeVerificationFailed, notAccepted+"hello.")
		_, err = s.UpdateFunctionCode(s.ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "hello", ZipFile: withFile(t, me.sign(t, s.now, plain))})
		wantException(t, "UpdateFunctionCode, altered", err, wire.InvalidCodeSignature, integrityFailed)

		f, err := s.UpdateFunctionCode(s.ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "hello", ZipFile: me.sign(t, s.now, plain), Publish: ptr(true)})
		if err != nil || f.SigningJobArn == nil {
			t.Fatalf("UpdateFunctionCode, signed = %+v, %v; want a signing job", f, err)
		}
		settled(t, s.Plane, s.ctx, "hello")
		f, err = s.UpdateFunctionConfiguration(s.ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "hello", Layers: []string{*signed.LayerVersionArn}})
		if err != nil || len(f.Layers) != 1 || f.Layers[0].SigningJobArn == nil || f.SigningJobArn == nil {
			t.Fatalf("UpdateFunctionConfiguration, signed layer = %+v, %v; want signing jobs", f, err)
		}
		settled(t, s.Plane, s.ctx, "hello")
		if _, err := s.DeleteFunctionCodeSigningConfig(s.ctx, &wire.DeleteFunctionCodeSigningConfigRequest{FunctionName: "hello"}); err != nil {
			t.Fatal(err)
		}
		f, err = s.UpdateFunctionCode(s.ctx, &wire.UpdateFunctionCodeRequest{FunctionName: "hello", ZipFile: plain})
		if err != nil || f.SigningJobArn != nil || f.SigningProfileVersionArn != nil {
			t.Errorf("UpdateFunctionCode, unsigned, without a configuration = %+v, %v; want no signing job", f, err)
		}
	})
}

func TestCodeSigningConfigOperations(t *testing.T) {
	t.Parallel()
	s := newSigningPlane(t, store.Options{Path: database(t)})
	publishers := []string{"arn:aws:signer:eu-west-1:000000000000:/signing-profiles/test"} // need not exist
	out, err := s.CreateCodeSigningConfig(s.ctx, &wire.CreateCodeSigningConfigRequest{
		AllowedPublishers: &wire.AllowedPublishers{SigningProfileVersionArns: publishers}, Tags: map[string]string{"a": "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := out.CodeSigningConfig
	arn := c.CodeSigningConfigArn
	if !regexp.MustCompile(`^csc-[a-z0-9]{17}$`).MatchString(c.CodeSigningConfigId) {
		t.Errorf("ID is %s", c.CodeSigningConfigId)
	}
	want := &wire.CodeSigningConfig{
		CodeSigningConfigId: c.CodeSigningConfigId, CodeSigningConfigArn: "arn:aws:lambda:eu-west-1:000000000000:code-signing-config:" + c.CodeSigningConfigId,
		AllowedPublishers:   &wire.AllowedPublishers{SigningProfileVersionArns: publishers},
		CodeSigningPolicies: &wire.CodeSigningPolicies{UntrustedArtifactOnDeployment: ptr("Warn")}, LastModified: "2026-05-06T07:08:09.000+0000",
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("CreateCodeSigningConfig differs (-want +got):\n%s", diff)
	}
	tags, err := s.ListTags(s.ctx, &wire.ListTagsRequest{Resource: arn})
	if err != nil || tags.Tags["a"] != "b" {
		t.Errorf("ListTags = %v, %v; want a=b", tags, err)
	}
	s.now = s.now.Add(time.Second)
	updated, err := s.UpdateCodeSigningConfig(s.ctx, &wire.UpdateCodeSigningConfigRequest{CodeSigningConfigArn: arn, CodeSigningPolicies: &wire.CodeSigningPolicies{UntrustedArtifactOnDeployment: ptr("Enforce")}})
	if err != nil {
		t.Fatal(err)
	}
	want.CodeSigningPolicies.UntrustedArtifactOnDeployment, want.LastModified = ptr("Enforce"), "2026-05-06T07:08:10.000+0000"
	if diff := cmp.Diff(want, updated.CodeSigningConfig); diff != "" {
		t.Errorf("UpdateCodeSigningConfig differs (-want +got):\n%s", diff)
	}
	if updated, err = s.UpdateCodeSigningConfig(s.ctx, &wire.UpdateCodeSigningConfigRequest{CodeSigningConfigArn: arn}); err != nil {
		t.Fatal(err)
	}
	got, err := s.GetCodeSigningConfig(s.ctx, &wire.GetCodeSigningConfigRequest{CodeSigningConfigArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(updated.CodeSigningConfig, got.CodeSigningConfig); diff != "" || !slices.Equal(got.CodeSigningConfig.AllowedPublishers.SigningProfileVersionArns, publishers) {
		t.Errorf("GetCodeSigningConfig differs after an update of nothing (-updated +got):\n%s", diff)
	}

	second := s.configure(t, "Warn", publishers...)
	var listed []string
	for marker := (*string)(nil); ; {
		page, err := s.ListCodeSigningConfigs(s.ctx, &wire.ListCodeSigningConfigsRequest{MaxItems: ptr(int64(1)), Marker: marker})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.CodeSigningConfigs {
			listed = append(listed, c.CodeSigningConfigArn)
		}
		if marker = page.NextMarker; marker == nil {
			break
		}
	}
	wantListed := []string{arn, second}
	slices.Sort(wantListed)
	if !slices.Equal(listed, wantListed) {
		t.Errorf("ListCodeSigningConfigs = %v; want %v", listed, wantListed)
	}

	for _, name := range []string{"b", "a"} {
		if _, err := s.create(name, arn, zipOf(t, name)); !wire.CodeVerificationFailed.Is(err) {
			t.Fatalf("CreateFunction = %v; want it refused", err)
		}
		if _, err := s.create(name, "", zipOf(t, name)); err != nil {
			t.Fatal(err)
		}
		put, err := s.PutFunctionCodeSigningConfig(s.ctx, &wire.PutFunctionCodeSigningConfigRequest{FunctionName: "function:" + name, CodeSigningConfigArn: arn})
		if err != nil || put.FunctionName != name || put.CodeSigningConfigArn != arn {
			t.Fatalf("PutFunctionCodeSigningConfig = %+v, %v", put, err)
		}
	}
	if _, err := s.create("warned", second, zipOf(t, "warned")); err != nil {
		t.Fatal(err)
	}
	users, err := s.ListFunctionsByCodeSigningConfig(s.ctx, &wire.ListFunctionsByCodeSigningConfigRequest{CodeSigningConfigArn: arn})
	wantUsers := []string{"arn:aws:lambda:eu-west-1:000000000000:function:a", "arn:aws:lambda:eu-west-1:000000000000:function:b"}
	if err != nil || !slices.Equal(users.FunctionArns, wantUsers) {
		t.Errorf("ListFunctionsByCodeSigningConfig = %v, %v; want %v", users, err, wantUsers)
	}
	of := func(name string) wire.GetFunctionCodeSigningConfigResponse {
		out, err := s.GetFunctionCodeSigningConfig(s.ctx, &wire.GetFunctionCodeSigningConfigRequest{FunctionName: name})
		if err != nil {
			t.Fatal(err)
		}
		return *out
	}
	if got := of("warned"); got.CodeSigningConfigArn != second || got.FunctionName != "warned" {
		t.Errorf("GetFunctionCodeSigningConfig = %+v; want %s", got, second)
	}
	_, err = s.DeleteCodeSigningConfig(s.ctx, &wire.DeleteCodeSigningConfigRequest{CodeSigningConfigArn: arn})
	if !wire.ResourceConflict.Is(err) {
		t.Errorf("DeleteCodeSigningConfig in use = %v; want ResourceConflictException", err)
	}
	for _, name := range []string{"a", "a", "b"} { // twice is fine
		if _, err := s.DeleteFunctionCodeSigningConfig(s.ctx, &wire.DeleteFunctionCodeSigningConfigRequest{FunctionName: name}); err != nil {
			t.Errorf("DeleteFunctionCodeSigningConfig(%s) = %v; want nil", name, err)
		}
	}
	if got := of("a"); got != (wire.GetFunctionCodeSigningConfigResponse{}) {
		t.Errorf("GetFunctionCodeSigningConfig of none = %+v; want nothing", got)
	}
	if _, err := s.DeleteCodeSigningConfig(s.ctx, &wire.DeleteCodeSigningConfigRequest{CodeSigningConfigArn: arn}); err != nil {
		t.Errorf("DeleteCodeSigningConfig = %v; want nil", err)
	}

	// arn is gone now; the others never were.
	for _, gone := range []string{arn, strings.Replace(second, "eu-west-1", "us-east-1", 1), strings.Replace(second, "000000000000", "111111111111", 1)} {
		for name, err := range map[string]error{
			"Get":    errorOf(s.GetCodeSigningConfig(s.ctx, &wire.GetCodeSigningConfigRequest{CodeSigningConfigArn: gone})),
			"Update": errorOf(s.UpdateCodeSigningConfig(s.ctx, &wire.UpdateCodeSigningConfigRequest{CodeSigningConfigArn: gone})),
			"Delete": errorOf(s.DeleteCodeSigningConfig(s.ctx, &wire.DeleteCodeSigningConfigRequest{CodeSigningConfigArn: gone})),
			"List":   errorOf(s.ListFunctionsByCodeSigningConfig(s.ctx, &wire.ListFunctionsByCodeSigningConfigRequest{CodeSigningConfigArn: gone})),
		} {
			wantException(t, name, err, wire.ResourceNotFound, "The Lambda code signing configuration "+gone+" can not be found.")
		}
		text := "The code signing configuration cannot be found. Check that the provided configuration is not deleted: " + gone + "."
		for _, name := range []string{"a", "absent"} { // said before that the function is absent
			_, err := s.PutFunctionCodeSigningConfig(s.ctx, &wire.PutFunctionCodeSigningConfigRequest{FunctionName: name, CodeSigningConfigArn: gone})
			wantException(t, "Put on "+name, err, wire.CodeSigningConfigNotFound, text)
		}
		_, err := s.create("new", gone, zipOf(t, "new"))
		wantException(t, "CreateFunction", err, wire.CodeSigningConfigNotFound, text)
	}
	const absent = "Function not found: arn:aws:lambda:eu-west-1:000000000000:function:absent"
	_, err = s.PutFunctionCodeSigningConfig(s.ctx, &wire.PutFunctionCodeSigningConfigRequest{FunctionName: "absent", CodeSigningConfigArn: second})
	wantException(t, "Put on no function", err, wire.ResourceNotFound, absent)
	_, err = s.GetFunctionCodeSigningConfig(s.ctx, &wire.GetFunctionCodeSigningConfigRequest{FunctionName: "absent"})
	wantException(t, "Get of no function", err, wire.ResourceNotFound, absent)
	_, err = s.DeleteFunctionCodeSigningConfig(s.ctx, &wire.DeleteFunctionCodeSigningConfigRequest{FunctionName: "absent"})
	wantException(t, "Delete of no function", err, wire.ResourceNotFound, absent)
}

// errorOf is the error of two results.
func errorOf[T any](_ T, err error) error { return err }

func TestSigningProfileOperations(t *testing.T) {
	t.Parallel()
	s := newSigningPlane(t, store.Options{Path: database(t)})
	me := newPublisher(t, "me", s.now, nil)
	first := s.addProfile(t, "me", me)
	s.now = s.now.Add(time.Second)
	second := s.addProfile(t, "me", newPublisher(t, "me", s.now, nil))
	if first == second {
		t.Error("another certificate is the same version")
	}
	if err := s.RevokeSigningProfile(s.ctx, "me"); err != nil {
		t.Fatal(err)
	}
	third := s.addProfile(t, "me", me)
	if third == first {
		t.Error("a revoked version came back")
	}
	// The certificate has a revoked version and one that is not.
	layer := s.layer(t, "l", me.sign(t, s.now, zipOf(t, "x")))
	if got := value(layer.Content.SigningProfileVersionArn); got != third {
		t.Errorf("signed by %s; want %s", got, third)
	}
	all, err := s.SigningProfiles(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	revoked := map[string]bool{}
	for _, p := range all {
		revoked[p.ARN()] = !p.Revoked.IsZero()
	}
	if diff := cmp.Diff(map[string]bool{first: true, second: true, third: false}, revoked); diff != "" {
		t.Errorf("SigningProfiles differs (-want +got):\n%s", diff)
	}
	expired := newPublisher(t, "expired", s.now.Add(-48*time.Hour), nil)
	for name, err := range map[string]error{
		"name":        errorOf(s.AddSigningProfile(s.ctx, "a/b", me.pem())),
		"certificate": errorOf(s.AddSigningProfile(s.ctx, "me", []byte("hello"))),
		"expired":     errorOf(s.AddSigningProfile(s.ctx, "me", expired.pem())),
	} {
		if !wire.InvalidParameterValue.Is(err) {
			t.Errorf("AddSigningProfile, bad %s = %v; want InvalidParameterValueException", name, err)
		}
	}
	if err := s.RevokeSigningProfile(s.ctx, "absent"); !wire.ResourceNotFound.Is(err) {
		t.Errorf("RevokeSigningProfile(absent) = %v; want ResourceNotFoundException", err)
	}
	elsewhere := identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "us-east-1", ARN: "arn:aws:iam::000000000000:root"})
	if all, err := s.SigningProfiles(elsewhere); err != nil || len(all) > 0 {
		t.Errorf("SigningProfiles of another region = %v, %v; want none", all, err)
	}
}
