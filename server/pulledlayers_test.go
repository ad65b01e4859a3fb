package server

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
)

// fakeLayers remembers what it was told.
type fakeLayers struct {
	kept    lamina.LayerVersion
	zip     string
	dropped string
}

func (f *fakeLayers) KeepLayerVersion(_ context.Context, v lamina.LayerVersion, zip io.Reader) (lamina.LayerVersion, bool, error) {
	data, err := io.ReadAll(zip)
	f.kept, f.zip = v, string(data)
	return v, true, err
}

func (*fakeLayers) PulledLayerVersions(context.Context) ([]lamina.LayerVersion, error) {
	return []lamina.LayerVersion{{Layer: lamina.LayerID{Scope: lamina.Scope{Account: "123456789012", Region: "eu-west-1"}, Name: "geo"}, Number: 7}}, nil
}

func (f *fakeLayers) DropLayerVersion(_ context.Context, id lamina.LayerID, number int64) error {
	f.dropped = id.VersionARN(number)
	return nil
}

func TestPulledLayersEndpoint(t *testing.T) {
	t.Parallel()
	const operator, arn = "000000000000", "arn:aws:lambda:eu-west-1:123456789012:layer:geo:7"
	license := "MIT"
	want := lamina.LayerVersion{
		Layer: lamina.LayerID{Scope: lamina.Scope{Account: "123456789012", Region: "eu-west-1"}, Name: "geo"}, Number: 7,
		Digest: lamina.Digest{1, 2, 3}, Description: "Städte & more", LicenseInfo: &license, Runtimes: []string{"python3.12", "python3.13"},
		Created: time.Date(2024, 2, 29, 1, 2, 3, 4e6, time.UTC),
	}
	query := PulledLayer{
		CodeSha256: want.Digest, Description: want.Description, LicenseInfo: want.LicenseInfo, CompatibleRuntimes: want.Runtimes, CreatedDate: want.Created,
	}.Query()
	without := func(name string) url.Values {
		q := url.Values{}
		for k, v := range query {
			if k != name {
				q[k] = v
			}
		}
		return q
	}
	root := identity.Caller{Account: operator, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + operator + ":root"}
	other := identity.Caller{Account: "111111111111", Kind: identity.KindRoot, ARN: "arn:aws:iam::111111111111:root"}
	for _, c := range []struct {
		name, method, arn string
		query             url.Values
		caller            identity.Caller
		status            int
		want              fakeLayers
	}{
		{"list", "GET", "", nil, root, 200, fakeLayers{}},
		{"another account's root lists", "GET", "", nil, other, 403, fakeLayers{}},
		{"keep", "PUT", arn, query, root, 200, fakeLayers{kept: want, zip: "zip"}},
		{"drop", "DELETE", arn, nil, root, 200, fakeLayers{dropped: arn}},
		{"another account's root keeps", "PUT", arn, query, other, 403, fakeLayers{}},
		{"another account's root drops", "DELETE", arn, nil, other, 403, fakeLayers{}},
		{"no hash", "PUT", arn, without("CodeSha256"), root, 400, fakeLayers{}},
		{"no date", "PUT", arn, without("CreatedDate"), root, 400, fakeLayers{}},
		{"a layer without a number", "PUT", strings.TrimSuffix(arn, ":7"), query, root, 400, fakeLayers{}},
		{"a name", "PUT", "geo", query, root, 400, fakeLayers{}},
		{"another partition", "PUT", strings.Replace(arn, "aws", "aws-cn", 1), query, root, 400, fakeLayers{}},
		{"a number with zeros", "PUT", strings.Replace(arn, ":7", ":07", 1), query, root, 400, fakeLayers{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got fakeLayers
			h := NewInternal(Internal{Profiles: &fakeProfiles{}, Layers: &got, Operator: operator, Log: slog.New(slog.DiscardHandler)})
			req := httptest.NewRequest(c.method, strings.TrimSuffix("/_lamina/layers/"+url.PathEscape(c.arn), "/")+"?"+c.query.Encode(), strings.NewReader("zip"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req.WithContext(identity.WithCaller(req.Context(), c.caller)))
			if w.Code != c.status {
				t.Errorf("%d %s; want %d", w.Code, w.Body, c.status)
			}
			if c.name == "list" && !strings.Contains(w.Body.String(), `"LayerVersionArn":"`+arn+`"`) {
				t.Errorf("the list is %s", w.Body)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(fakeLayers{})); diff != "" {
				t.Errorf("did (-want +got):\n%s", diff)
			}
		})
	}
}
