package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/wire/jsontarget"
	"github.com/lamina-run/lamina/wire/query"
)

// SystemsManager asks the Parameter Store for the values of parameters, in the
// name of the caller in the context.
type SystemsManager struct{ Services resources.Services }

// maxParameterAnswer bounds what is read of an answer, which has one value.
const maxParameterAnswer = 1 << 20

// StackParameter returns the value of a parameter and whether it is a
// SecureString, whose value stays unknown. The error is a [Validation] when there
// is no such parameter or the caller may not read it.
func (s SystemsManager) StackParameter(ctx context.Context, name string) (value string, secure bool, err error) {
	body, err := json.Marshal(map[string]any{"Names": []string{name}})
	if err != nil {
		return "", false, fmt.Errorf("ask for parameter %s: %w", name, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ssm.localhost/", bytes.NewReader(body))
	if err != nil {
		return "", false, fmt.Errorf("ask for parameter %s: %w", name, err)
	}
	req.Header.Set("Content-Type", jsontarget.ContentType)
	req.Header.Set(jsontarget.Header, "AmazonSSM.GetParameters")
	resp, err := s.Services.Do("ssm", req)
	if err != nil {
		return "", false, fmt.Errorf("ask for parameter %s: %w", name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxParameterAnswer))
	if err != nil {
		return "", false, fmt.Errorf("ask for parameter %s: %w", name, err)
	}
	var answer struct {
		Parameters        []struct{ Type, Value string }
		InvalidParameters []string
		Message           string `json:"message"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode >= http.StatusInternalServerError {
		return "", false, fmt.Errorf("ask for parameter %s: it answers %s", name, resp.Status)
	}
	switch {
	case resp.StatusCode != http.StatusOK && strings.Contains(answer.Message, "is not authorized"):
		return "", false, Validation.New(answer.Message)
	case resp.StatusCode != http.StatusOK, len(answer.Parameters) == 0, slices.Contains(answer.InvalidParameters, name):
		return "", false, Validation.Errorf("Unable to fetch parameters [%s] from parameter store for this account.", query.Printable(name))
	}
	if answer.Parameters[0].Type == "SecureString" {
		return "", true, nil
	}
	return answer.Parameters[0].Value, false, nil
}
