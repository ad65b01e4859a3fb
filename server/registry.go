package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

// RegistryService is the signing name of ECR.
const RegistryService = "ecr"

const (
	registryTarget = "AmazonEC2ContainerRegistry_V20150921."
	registryBody   = 64 << 10
)

// NewRegistry answers tools that ask whether there are images to clean up: there
// are none, since Lamina has no registry. Every other operation is refused.
func NewRegistry(authority Authority, log *slog.Logger) http.Handler {
	return &jsontarget.Service{
		Name: RegistryService, Title: "ECR", Prefix: registryTarget, MaxBody: registryBody, Failure: "ServerException", Log: log,
		Answer: func(ctx context.Context, operation string, body []byte) ([]byte, error) {
			caller, ok := identity.CallerOf(ctx)
			if !ok {
				return nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
			}
			wire.RecordOf(ctx).Operation = operation
			if operation != "DescribeRepositories" {
				return nil, jsontarget.Errorf("UnsupportedOperationException", "Lamina has no registry, and does not offer %.100q of ECR: images do not run in it.", operation)
			}
			var in struct {
				RepositoryNames []string `json:"repositoryNames"`
				RegistryID      string   `json:"registryId"`
			}
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, wire.Serialization.New("The request is not JSON of the right shape")
			}
			if in.RegistryID == "" {
				in.RegistryID = caller.Account
			}
			names := in.RepositoryNames
			if len(names) == 0 {
				names = []string{"*"}
			}
			for _, name := range names {
				arn := "arn:" + lamina.Partition + ":ecr:" + caller.Region + ":" + in.RegistryID + ":repository/" + name
				if err := authority.Permit(ctx, caller, identity.Need{Action: "ecr:" + operation, Account: in.RegistryID, Resource: arn}); err != nil {
					return nil, err
				}
			}
			if len(in.RepositoryNames) > 0 {
				return nil, jsontarget.Errorf("RepositoryNotFoundException", "The repository with name '%.256s' does not exist in the registry with id '%.32s'", in.RepositoryNames[0], in.RegistryID)
			}
			return []byte(`{"repositories":[]}`), nil
		},
	}
}
