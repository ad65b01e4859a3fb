package main

import (
	"fmt"
	"strings"

	"github.com/lamina-run/lamina/identity"
)

type envVerb struct {
	Data   string `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Data directory of the server."`
	Region string `env:"LAMINA_REGION" default:"us-east-1" help:"Region for the clients."`
}

// Run prints lines for eval "$(lamina env)".
func (v *envVerb) Run(s streams) error {
	where := settings{Data: v.Data}
	key, err := identity.LoadCredentials(where.file(keyFile))
	if err != nil {
		return hint(fmt.Errorf("read the root key: %w", err), "start the server first (lamina serve --data %s), or give --data the directory it uses", v.Data)
	}
	endpoint, trust, err := where.told()
	if err != nil {
		return err
	}
	lines := [][2]string{
		{"AWS_ENDPOINT_URL", endpoint},
		{"AWS_ACCESS_KEY_ID", key.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", key.SecretAccessKey},
		{"AWS_REGION", v.Region},
		{"AWS_DEFAULT_REGION", v.Region},
	}
	if trust != "" {
		lines = append(lines, [2]string{"AWS_CA_BUNDLE", trust})
	}
	for _, line := range lines {
		fmt.Fprintf(s.out, "export %s=%s\n", line[0], shellQuote(line[1]))
	}
	return nil
}

// shellQuote makes a POSIX shell read s as one word.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
