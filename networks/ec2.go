package networks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/peer"
)

// Options say where EC2 is. All fields but Proxy are required.
type Options struct {
	Endpoint        string // an http or https URL
	AccessKeyID     string
	SecretAccessKey string
	Now             func() time.Time
	Proxy           func(*http.Request) (*url.URL, error) // nil for none
}

const (
	answerLimit = 10 * time.Second // until EC2's first byte
	askLimit    = 20 * time.Second // for everything about one question, the second attempt included
	answerBytes = 8 << 20          // five security groups with a thousand rules each have about 2 MB
	attempts    = 2                // while EC2 is unreachable or has troubles of its own
	pause       = 200 * time.Millisecond

	apiVersion  = "2016-11-15"
	contentType = "application/x-www-form-urlencoded; charset=utf-8"
)

var errSlow = errors.New("EC2 took too long")

// EC2 is an EC2 endpoint. It is safe for concurrent use.
type EC2 struct{ peer *peer.Client }

// New returns the EC2 at an endpoint, which is not asked anything yet.
func New(o Options) (*EC2, error) {
	p, err := peer.New(peer.Options{
		Service: "ec2", Endpoint: o.Endpoint, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey,
		Now: o.Now, Proxy: o.Proxy, Answer: answerLimit,
	})
	if err != nil {
		return nil, err
	}
	return &EC2{p}, nil
}

// ParseEndpoint reads the URL of an EC2 endpoint.
func ParseEndpoint(text string) (*url.URL, error) { return peer.ParseEndpoint(text) }

// Close gives up idle connections.
func (e *EC2) Close() { e.peer.Close() }

// question is one of the two that are asked.
type question struct {
	action    string
	parameter string // of the form, numbered from 1
	code      string // of EC2's refusal of an identifier that it doesn't know
	message   string // and its text
}

var (
	aboutGroups  = question{"DescribeSecurityGroups", "GroupId", "InvalidGroup.NotFound", "The security group '%s' does not exist"}
	aboutSubnets = question{"DescribeSubnets", "SubnetId", "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist"}
)

// SecurityGroups returns the VPC of each security group, in the order of ids. It
// fails with a *lamina.NetworkError when EC2 refuses, as it does when one of them
// does not exist.
func (e *EC2) SecurityGroups(ctx context.Context, region string, ids []string) ([]string, error) {
	return e.vpcs(ctx, region, aboutGroups, ids)
}

// Subnets returns the VPC of each subnet, as SecurityGroups does.
func (e *EC2) Subnets(ctx context.Context, region string, ids []string) ([]string, error) {
	return e.vpcs(ctx, region, aboutSubnets, ids)
}

func (e *EC2) vpcs(ctx context.Context, region string, q question, ids []string) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil // EC2 would describe all there are
	}
	form := url.Values{"Action": {q.action}, "Version": {apiVersion}}
	var asked []string
	for _, id := range ids {
		if !slices.Contains(asked, id) { // some EC2s miss one of two that are the same
			asked = append(asked, id)
			form.Set(q.parameter+"."+strconv.Itoa(len(asked)), id)
		}
	}
	told, err := e.ask(ctx, region, q.action, form.Encode())
	if err != nil {
		return nil, fmt.Errorf("ask EC2: %w", err)
	}
	vpcs := make([]string, len(ids))
	for i, id := range ids {
		vpc, ok := told[id]
		if !ok { // some EC2s leave it out instead of refusing
			return nil, fmt.Errorf("ask EC2: %w", &lamina.NetworkError{Action: q.action, Code: q.code, Message: fmt.Sprintf(q.message, id)})
		}
		vpcs[i] = vpc
	}
	return vpcs, nil
}

// ask posts a form, and once more when EC2 was not able to answer.
func (e *EC2) ask(ctx context.Context, region, action, form string) (map[string]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, errSlow)
	defer cancel()
	for attempt := 1; ; attempt++ {
		told, again, err := e.post(ctx, region, action, form)
		if err == nil {
			return told, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !again || attempt == attempts {
			return nil, err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// post sends a form once. It tells whether sending it again may help.
func (e *EC2) post(ctx context.Context, region, action, form string) (told map[string]string, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.peer.Endpoint().String(), strings.NewReader(form))
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Content-Type", contentType)
	sum := sha256.Sum256([]byte(form))
	resp, err := e.peer.Do(req, hex.EncodeToString(sum[:]), region)
	if err != nil {
		return nil, true, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes+1))
	if err != nil {
		return nil, true, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > answerBytes {
		return nil, false, fmt.Errorf("read the answer: %w", lamina.ErrTooLarge)
	}
	if resp.StatusCode != http.StatusOK {
		err := refusal(action, resp.StatusCode, body)
		_, refused := errors.AsType[*lamina.NetworkError](err)
		return nil, !refused && resp.StatusCode >= http.StatusInternalServerError, err
	}
	told, err = vpcsIn(action, body)
	return told, false, err
}

// throttled is EC2's code for too many requests, which comes as 503. It is an
// answer for the client; asking again at once makes it worse.
const throttled = "RequestLimitExceeded"

// refusal reads what EC2 says about a request that it did not serve. Troubles of
// EC2's own, and answers of somebody else, are plain errors.
func refusal(action string, status int, body []byte) error {
	var told struct {
		Errors []struct {
			Code    string
			Message string
		} `xml:"Errors>Error"`
	}
	if err := xml.Unmarshal(body, &told); err != nil || len(told.Errors) == 0 || told.Errors[0].Code == "" {
		return fmt.Errorf("%s: status %d, and no error of EC2", action, status)
	}
	first := told.Errors[0]
	if status >= http.StatusInternalServerError && first.Code != throttled {
		return fmt.Errorf("%s: status %d, %s: %s", action, status, first.Code, first.Message)
	}
	return &lamina.NetworkError{Action: action, Code: first.Code, Message: first.Message}
}

// vpcsIn reads the VPC of each thing that an answer describes.
func vpcsIn(action string, body []byte) (map[string]string, error) {
	var told struct {
		XMLName xml.Name
		Groups  []struct {
			ID  string `xml:"groupId"`
			VPC string `xml:"vpcId"`
		} `xml:"securityGroupInfo>item"`
		Subnets []struct {
			ID  string `xml:"subnetId"`
			VPC string `xml:"vpcId"`
		} `xml:"subnetSet>item"`
	}
	if err := xml.Unmarshal(body, &told); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if told.XMLName.Local != action+"Response" {
		return nil, fmt.Errorf("read the answer: <%s> does not answer %s", told.XMLName.Local, action)
	}
	vpcs := map[string]string{}
	for _, g := range told.Groups {
		vpcs[g.ID] = g.VPC
	}
	for _, s := range told.Subnets {
		vpcs[s.ID] = s.VPC
	}
	return vpcs, nil
}
