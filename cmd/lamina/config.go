package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// settings are the flags of every verb that serves. Each has an environment
// twin; the flag wins.
type settings struct {
	Listen          string        `env:"LAMINA_LISTEN" default:"127.0.0.1:4566" help:"Address to serve on."`
	Data            string        `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Directory that holds everything."`
	Region          string        `env:"LAMINA_REGION" default:"us-east-1" help:"Region that lamina env prints. The server itself serves every region."`
	Database        string        `env:"LAMINA_DATABASE" help:"PostgreSQL URL; SQLite in the data directory when absent."`
	Account         string        `env:"LAMINA_ACCOUNT" default:"000000000000" help:"Account that the first start makes: 12 digits."`
	AccessKeyID     string        `env:"LAMINA_ACCESS_KEY_ID" help:"Access key of the account's root; made at the first start when absent."`
	SecretAccessKey string        `env:"LAMINA_SECRET_ACCESS_KEY" help:"Secret of that key."`
	Runtime         []string      `env:"LAMINA_RUNTIMES" placeholder:"NAME=PATH" help:"Interpreter of a runtime, such as python3.12=/opt/python/bin/python3.12. Repeatable; others are discovered."`
	Environments    int           `env:"LAMINA_ENVIRONMENTS" default:"100" help:"Execution environments that may exist at once."`
	Idle            time.Duration `env:"LAMINA_IDLE" default:"10m" help:"How long an idle execution environment is kept."`
	Parked          int           `env:"LAMINA_PARKED" default:"2" help:"Sandboxes made ahead, so that a cold start is quick."`
	LogLevel        slog.Level    `env:"LAMINA_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
}

var twelveDigits = regexp.MustCompile(`^\d{12}$`)

// Validate is called by kong after parsing.
func (s *settings) Validate() error {
	if !twelveDigits.MatchString(s.Account) {
		return fmt.Errorf("--account %q: want 12 digits", s.Account)
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey == "") {
		return fmt.Errorf("--access-key-id and --secret-access-key: give both or neither")
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		return fmt.Errorf("--listen %q: want HOST:PORT", s.Listen)
	}
	for _, r := range s.Runtime {
		if name, path, ok := strings.Cut(r, "="); !ok || name == "" || !filepath.IsAbs(path) {
			return fmt.Errorf("--runtime %q: want NAME=/ABSOLUTE/PATH", r)
		}
	}
	return nil
}

// The files of the data directory.
func (s *settings) file(name string) string { return filepath.Join(s.Data, name) }

const (
	keyFile      = "root-key.json"
	endpointFile = "endpoint" // URL of the server that last used the directory
)

type configVerb struct {
	settings
}

// Run prints each setting, its value and where the value came from.
func (v *configVerb) Run(s streams, parsed *kong.Context) error {
	given := map[string]bool{}
	for _, p := range parsed.Path {
		if p.Flag != nil {
			given[p.Flag.Name] = true
		}
	}
	for _, flag := range parsed.Selected().Flags {
		text := fmt.Sprint(parsed.FlagValue(flag))
		if flag.Name == "secret-access-key" && text != "" {
			text = "(set)"
		}
		source := "default"
		switch name := strings.Join(flag.Envs, ", "); {
		case given[flag.Name]:
			source = "flag --" + flag.Name
		case slices.ContainsFunc(flag.Envs, func(e string) bool { return os.Getenv(e) != "" }):
			source = "environment " + name
		}
		fmt.Fprintf(s.out, "%-20s %-40s %s\n", flag.Name, text, source)
	}
	return nil
}
