package identity

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/query"
)

// OrganizationsService is the signing name of AWS Organizations.
const OrganizationsService = "organizations"

const (
	organizationsTarget = "AWSOrganizationsV20161128."
	organizationsBody   = 64 << 10
	// accessRole is the role by which the management account gets into an account
	// that it made.
	accessRole = "OrganizationAccountAccessRole"
)

// organizations is the small part of AWS Organizations that tools use to make
// accounts and to look around.
type organizations struct{ Options }

// NewOrganizations returns AWS Organizations. Its requests are authenticated and
// carry their caller.
func NewOrganizations(o Options) http.Handler { return &organizations{o} }

// ServeHTTP answers one request in AWS's JSON protocol 1.1.
func (s *organizations) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	out, err := s.answer(ctx, req)
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
		told := struct {
			Type    string `json:"__type"`
			Message string
		}{}
		if q, ok := errors.AsType[*queryError](err); ok {
			told.Type, told.Message = q.Code, q.Message
		} else if ex, ok := errors.AsType[*wire.Exception](err); ok {
			told.Type, told.Message = ex.Code(), ex.Message()
		} else {
			id := wire.RequestID(ctx)
			s.Log.LogAttrs(ctx, slog.LevelError, "operation failed", slog.String("service", OrganizationsService),
				slog.String("operation", req.Header.Get("X-Amz-Target")), slog.String("request_id", id), slog.Any("err", err))
			status, told.Type, told.Message = http.StatusInternalServerError, "ServiceException", "Internal error; see the server's log for request "+id
		}
		wire.RecordOf(ctx).Code = told.Type
		out = told
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic("identity: " + err.Error()) // every answer marshals
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone
}

// organizationsRequest is the parameters of all operations.
type organizationsRequest struct {
	AccountID              string `json:"AccountId"`
	AccountName            string
	CreateAccountRequestID string `json:"CreateAccountRequestId"`
	Email                  string
	FeatureSet             string
	MaxResults             *int
	NextToken              string
	RoleName               string
}

func (s *organizations) answer(ctx context.Context, req *http.Request) (any, error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, organizationsBody+1))
	if len(body) > organizationsBody {
		return nil, wire.RequestEntityTooLarge.Errorf("Request must be smaller than %d bytes", organizationsBody)
	}
	if err != nil {
		return nil, query.Unread(err)
	}
	// Only now is the body read to its end, and the caller proven.
	c, ok := CallerOf(ctx)
	if !ok {
		return nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
	}
	var in organizationsRequest
	if err := json.Unmarshal(body, &in); err != nil && len(body) > 0 {
		return nil, wire.Serialization.Errorf("The body is no JSON of this operation.")
	}
	name := strings.TrimPrefix(req.Header.Get("X-Amz-Target"), organizationsTarget)
	record := wire.RecordOf(ctx)
	record.Operation, record.Mutates = name, strings.HasPrefix(name, "Create")
	record.Tell("AccountName", in.AccountName)
	if s.Authority != nil && !c.IsRoot() {
		if err := s.Authority.Permit(ctx, c, Need{Action: "organizations:" + name, Resource: "*", Account: c.Account}); err != nil {
			return nil, err
		}
	}
	switch name {
	case "CreateOrganization":
		return s.create(ctx, c, in)
	case "DescribeOrganization":
		return s.describe(ctx, c)
	case "CreateAccount":
		return s.createAccount(ctx, c, in)
	case "DescribeCreateAccountStatus":
		return s.describeCreateAccountStatus(ctx, c, in)
	case "ListAccounts":
		return s.listAccounts(ctx, c, in)
	case "DescribeAccount":
		return s.describeAccount(ctx, c, in)
	case "ListRoots":
		return s.listRoots(ctx, c)
	default:
		return nil, wire.UnknownOperation.Errorf("Lamina does not offer %s of AWS Organizations.", printable(name))
	}
}

// epoch is a time as the JSON protocol writes it.
type epoch time.Time

// MarshalJSON implements json.Marshaler.
func (t epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(t).UnixMilli())/1000, 'f', 3, 64), nil
}

type organizationJSON struct {
	ID                   string `json:"Id"`
	Arn                  string
	FeatureSet           string
	MasterAccountArn     string     `json:",omitempty"`
	MasterAccountID      string     `json:"MasterAccountId,omitempty"`
	MasterAccountEmail   string     `json:",omitempty"`
	AvailablePolicyTypes []struct{} // no policies of organizations
}

type accountJSON struct {
	ID              string `json:"Id"`
	Arn             string
	Email           string
	Name            string
	Status          string
	State           string
	Paths           []string
	JoinedMethod    string
	JoinedTimestamp epoch
}

type accountStatusJSON struct {
	ID                 string `json:"Id"`
	AccountName        string `json:",omitempty"`
	State              string
	RequestedTimestamp *epoch `json:",omitempty"`
	CompletedTimestamp *epoch `json:",omitempty"`
	AccountID          string `json:"AccountId,omitempty"`
	FailureReason      string `json:",omitempty"`
}

func organizationsARN(o store.Organization, resource string) string {
	owner := o.Management
	if owner == "" {
		owner = DefaultAccount // the operator's doing
	}
	return "arn:" + lamina.Partition + ":organizations::" + owner + ":" + resource
}

func showOrganization(o store.Organization, email string) any {
	x := organizationJSON{ID: o.ID, Arn: organizationsARN(o, "organization/"+o.ID), FeatureSet: "ALL", AvailablePolicyTypes: []struct{}{}}
	if o.Management != "" {
		x.MasterAccountID, x.MasterAccountArn, x.MasterAccountEmail = o.Management, organizationsARN(o, "account/"+o.ID+"/"+o.Management), email
	}
	return struct{ Organization organizationJSON }{x}
}

func showAccount(o store.Organization, a store.Account) accountJSON {
	x := accountJSON{
		ID: a.ID, Arn: organizationsARN(o, "account/"+o.ID+"/"+a.ID), Email: a.Email, Name: a.Name, Status: "ACTIVE", State: "ACTIVE",
		Paths: []string{o.ID + "/" + o.Root + "/" + a.ID + "/"}, JoinedMethod: "CREATED", JoinedTimestamp: epoch(a.Joined),
	}
	if !a.Joined.Equal(a.Created) {
		x.JoinedMethod = "INVITED"
	}
	return x
}

func badInput(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "InvalidInputException", format, args...)
}

// own returns the organization that the caller's account is in.
func (s *organizations) own(ctx context.Context, tx *store.Tx, c Caller) (store.Organization, store.Account, error) {
	a, err := tx.Account(ctx, c.Account)
	if err != nil {
		return store.Organization{}, a, err
	}
	if a.Organization == "" {
		return store.Organization{}, a, refuse(http.StatusBadRequest, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
	}
	o, err := tx.Organization(ctx, a.Organization)
	return o, a, err
}

// managed is own for what only the management account may do.
func (s *organizations) managed(ctx context.Context, tx *store.Tx, c Caller) (store.Organization, error) {
	o, _, err := s.own(ctx, tx, c)
	if err == nil && o.Management != c.Account {
		err = refuse(http.StatusBadRequest, "AccessDeniedException", "You don't have permissions to access this resource.")
	}
	return o, err
}

func (s *organizations) create(ctx context.Context, c Caller, in organizationsRequest) (out any, err error) {
	if in.FeatureSet != "" && in.FeatureSet != "ALL" {
		return nil, badInput("Lamina's organizations have the feature set ALL.")
	}
	o := newOrganization("", c.Account)
	o.Created = s.Now()
	err = s.update(ctx, func(tx *store.Tx) error {
		a, err := tx.LockAccount(ctx, c.Account)
		if err != nil {
			return err
		}
		if a.Organization != "" {
			return refuse(http.StatusBadRequest, "AlreadyInOrganizationException", "The AWS account is already a member of an organization.")
		}
		o.Name = a.Name
		if err := tx.InsertOrganization(ctx, o); err != nil {
			return err
		}
		out = showOrganization(o, a.Email)
		return tx.SetAccountOrganization(ctx, a.ID, o.ID, o.Created)
	})
	return out, err
}

func (s *organizations) describe(ctx context.Context, c Caller) (out any, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		o, a, err := s.own(ctx, tx, c)
		if err != nil {
			return err
		}
		if o.Management != "" && o.Management != a.ID {
			if a, err = tx.Account(ctx, o.Management); err != nil {
				return err
			}
		}
		out = showOrganization(o, a.Email)
		return nil
	})
	return out, err
}

var (
	emailForm   = regexp.MustCompile(`^[^\s@]+@[^\s@]+\.[^\s@]+$`)
	createdForm = regexp.MustCompile(`^car-[a-z0-9]{8,32}$`)
)

const (
	takenEmail     = "EMAIL_ALREADY_EXISTS"
	takenEmailMark = "e" // in the identifier of a request that failed for it: others have digits there
)

// createdID is the identifier of a request for an account. It tells the account,
// so that nothing has to be kept of the request.
func createdID(account string) string { return "car-" + account + strings.ToLower(rand.Text())[:20] }

func showCreated(id string, a store.Account) any {
	at := epoch(a.Created)
	return struct{ CreateAccountStatus accountStatusJSON }{accountStatusJSON{
		ID: id, AccountName: a.Name, State: "SUCCEEDED", AccountID: a.ID, RequestedTimestamp: &at, CompletedTimestamp: &at,
	}}
}

func showFailed(id string) any {
	return struct{ CreateAccountStatus accountStatusJSON }{accountStatusJSON{ID: id, State: "FAILED", FailureReason: takenEmail}}
}

func (s *organizations) createAccount(ctx context.Context, c Caller, in organizationsRequest) (out any, err error) {
	role := in.RoleName
	if role == "" {
		role = accessRole
	}
	switch {
	case !accountNameForm.MatchString(in.AccountName):
		return nil, badInput("You provided a value that does not match the required pattern. AccountName")
	case len(in.Email) < 6 || len(in.Email) > 64 || !emailForm.MatchString(in.Email):
		return nil, badInput("You provided a value that does not match the required pattern. Email")
	case len(role) > roles.name || !nameForm.MatchString(role):
		return nil, badInput("You provided a value that does not match the required pattern. RoleName")
	}
	now := s.Now()
	err = s.update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockAccount(ctx, c.Account); err != nil {
			return err
		}
		o, err := s.managed(ctx, tx, c)
		if err != nil {
			return err
		}
		all, err := tx.Accounts(ctx)
		if err != nil {
			return err
		}
		for _, a := range all {
			if strings.EqualFold(a.Email, in.Email) {
				out = showFailed("car-" + takenEmailMark + strings.ToLower(rand.Text())[:20])
				return nil
			}
		}
		a, err := insertAccount(ctx, tx, store.Account{Name: in.AccountName, Email: in.Email, Organization: o.ID, Joined: now, Created: now})
		if err != nil {
			return err
		}
		r := store.Identity{
			IdentityRef: store.IdentityRef{Account: a.ID, Kind: store.KindRole, Name: role}, ID: newID(roles.prefix), Path: "/",
			TrustPolicy:       `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + arnOf(c.Account, "root") + `"},"Action":"sts:AssumeRole"}]}`,
			MaxSessionSeconds: defaultSession, Created: now,
		}
		if err := tx.InsertIdentity(ctx, r); err != nil {
			return err
		}
		out = showCreated(createdID(a.ID), a)
		return tx.AttachPolicy(ctx, r.IdentityRef, "arn:"+lamina.Partition+":iam::aws:policy/AdministratorAccess")
	})
	return out, err
}

func (s *organizations) describeCreateAccountStatus(ctx context.Context, c Caller, in organizationsRequest) (out any, err error) {
	id := in.CreateAccountRequestID
	if !createdForm.MatchString(id) {
		return nil, badInput("You provided a value that does not match the required pattern. CreateAccountRequestId")
	}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		o, err := s.managed(ctx, tx, c)
		if err != nil {
			return err
		}
		rest := strings.TrimPrefix(id, "car-")
		if strings.HasPrefix(rest, takenEmailMark) {
			out = showFailed(id)
			return nil
		}
		a, err := tx.Account(ctx, rest[:min(12, len(rest))])
		if missing(err) || err == nil && a.Organization != o.ID {
			return refuse(http.StatusBadRequest, "CreateAccountStatusNotFoundException", "You specified a request that does not exist.")
		}
		out = showCreated(id, a)
		return err
	})
	return out, err
}

const maxListedAccounts = 20

func (s *organizations) listAccounts(ctx context.Context, c Caller, in organizationsRequest) (out any, err error) {
	size := maxListedAccounts
	if in.MaxResults != nil {
		if size = *in.MaxResults; size < 1 || size > maxListedAccounts {
			return nil, badInput("You provided a value outside the range of 1 to %d. MaxResults", maxListedAccounts)
		}
	}
	var list struct {
		Accounts  []accountJSON
		NextToken string `json:",omitempty"`
	}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		o, err := s.managed(ctx, tx, c)
		if err != nil {
			return err
		}
		list.Accounts = []accountJSON{}
		all, err := tx.OrganizationAccounts(ctx, o.ID)
		for _, a := range all {
			if a.ID <= in.NextToken {
				continue
			}
			if len(list.Accounts) == size {
				list.NextToken = list.Accounts[size-1].ID
				break
			}
			list.Accounts = append(list.Accounts, showAccount(o, a))
		}
		return err
	})
	return list, err
}

func (s *organizations) describeAccount(ctx context.Context, c Caller, in organizationsRequest) (out any, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		o, err := s.managed(ctx, tx, c)
		if err != nil {
			return err
		}
		a, err := tx.Account(ctx, in.AccountID)
		if missing(err) || err == nil && a.Organization != o.ID {
			return refuse(http.StatusBadRequest, "AccountNotFoundException", "You specified an account that doesn't exist.")
		}
		out = struct{ Account accountJSON }{showAccount(o, a)}
		return err
	})
	return out, err
}

func (s *organizations) listRoots(ctx context.Context, c Caller) (out any, err error) {
	type rootJSON struct {
		ID          string `json:"Id"`
		Arn         string
		Name        string
		PolicyTypes []struct{}
	}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		o, err := s.managed(ctx, tx, c)
		out = struct{ Roots []rootJSON }{[]rootJSON{{o.Root, organizationsARN(o, "root/"+o.ID+"/"+o.Root), "Root", []struct{}{}}}}
		return err
	})
	return out, err
}
