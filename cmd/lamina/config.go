package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/audit"
	"github.com/lamina-run/lamina/blob"
	"github.com/lamina-run/lamina/internal/peer"
	"github.com/lamina-run/lamina/logs"
	"github.com/lamina-run/lamina/networks"
	"github.com/lamina-run/lamina/objects"
	"github.com/lamina-run/lamina/traces"
)

// settings are the flags of every verb that serves. Each has an environment
// twin; the flag wins.
type settings struct {
	Listen          string        `env:"LAMINA_LISTEN" default:"127.0.0.1:4566" help:"Address to serve on."`
	TLS             bool          `env:"LAMINA_TLS" name:"tls" help:"Serve HTTPS, with the certificate given, or one of an authority that the first start makes and lamina env has clients trust."`
	TLSCertificate  string        `env:"LAMINA_TLS_CERTIFICATE" name:"tls-certificate" type:"path" placeholder:"FILE" help:"Certificate to serve HTTPS with, PEM, those in between it and its root after it. Read anew when it changes."`
	TLSKey          string        `env:"LAMINA_TLS_KEY" name:"tls-key" type:"path" placeholder:"FILE" help:"Its key, PEM."`
	TLSName         []string      `env:"LAMINA_TLS_NAMES" name:"tls-name" placeholder:"HOST" help:"Host name or address that clients use, besides localhost and that of --listen, for a certificate of Lamina's own. Repeatable."`
	Data            string        `env:"LAMINA_DATA" default:"${data}" type:"path" help:"Directory that holds everything."`
	Region          string        `env:"LAMINA_REGION" default:"us-east-1" help:"Region that lamina env prints. The server itself serves every region."`
	Database        string        `env:"LAMINA_DATABASE" help:"PostgreSQL URL; SQLite in the data directory when absent."`
	Account         string        `env:"LAMINA_ACCOUNT" default:"000000000000" help:"Account that the first start makes: 12 digits."`
	AccessKeyID     string        `env:"LAMINA_ACCESS_KEY_ID" help:"Access key of the account's root; made at the first start when absent."`
	SecretAccessKey string        `env:"LAMINA_SECRET_ACCESS_KEY" help:"Secret of that key."`
	Runtime         []string      `env:"LAMINA_RUNTIMES" placeholder:"NAME=PATH" help:"Interpreter of a runtime, such as python3.12=/opt/python/bin/python3.12. Repeatable; others are discovered."`
	Library         []string      `env:"LAMINA_LIBRARIES" placeholder:"NAME=DIR" help:"Directory of libraries that functions find beside a runtime, or a family of them, as AWS ships its SDKs, such as python=/srv/boto3. Repeatable."`
	Environments    int           `env:"LAMINA_ENVIRONMENTS" default:"100" help:"Execution environments that may exist at once."`
	Idle            time.Duration `env:"LAMINA_IDLE" default:"10m" help:"How long an idle execution environment is kept."`
	CPU             string        `env:"LAMINA_CPU" name:"cpu" default:"share" enum:"share,quota" help:"What a function's memory buys of the processors: its share while others want them too, or, as at AWS, a quota that it never exceeds: one processor for 1769 MB."`
	Network         string        `env:"LAMINA_NETWORK" default:"auto" enum:"auto,nat,host,none" help:"What functions can reach: nat (the world, not this host), host (whatever this host reaches, its own services included), none. auto is nat where it can be had, else none; lamina doctor tells."`
	Parked          int           `env:"LAMINA_PARKED" default:"2" help:"Sandboxes made ahead, so that a cold start is quick."`
	LogsBytes       int64         `env:"LAMINA_LOGS_BYTES" default:"1073741824" help:"What logs of functions may take on the disk; the oldest go first. At least 1048576."`
	SecretKeyFile   string        `env:"LAMINA_SECRET_KEY_FILE" type:"path" placeholder:"FILE" help:"Key that seals variables of functions and secrets of access keys in the database, 32 bytes in base64; made at the first start. In the data directory when absent. Servers of one database have the same."`
	AuditBytes      int64         `env:"LAMINA_AUDIT_BYTES" default:"134217728" help:"What the audit log in the data directory may take on the disk; the oldest entries go first. 0 keeps none, else at least 262144."`
	Limit           []string      `env:"LAMINA_LIMITS" placeholder:"NAME=VALUE" help:"Quota of an account, such as ConcurrentExecutions=200. Repeatable. Names and defaults: ${limits}."`
	OTLPEndpoint    string        `env:"LAMINA_OTLP_ENDPOINT,OTEL_EXPORTER_OTLP_ENDPOINT" name:"otlp-endpoint" placeholder:"URL" help:"Collector of OpenTelemetry that traces of requests are sent to, OTLP over HTTP, such as http://127.0.0.1:4318. None without it."`
	OTLPHeaders     string        `env:"LAMINA_OTLP_HEADERS,OTEL_EXPORTER_OTLP_HEADERS" name:"otlp-headers" placeholder:"NAME=VALUE,..." help:"Headers for it, as a key that it asks for."`
	OTLPRatio       float64       `env:"LAMINA_OTLP_RATIO" name:"otlp-ratio" default:"1" help:"How many of the traces that begin here are sent, from 0 to 1. Who sends a trace header decides for its trace."`
	Console         bool          `env:"LAMINA_CONSOLE" default:"true" negatable:"" help:"Serve the web console, too."`
	LogLevel        slog.Level    `env:"LAMINA_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`

	S3                bool   `env:"LAMINA_S3" name:"s3" default:"true" negatable:"" help:"Serve S3 too, with its buckets in the data directory, unless --s3-endpoint names another."`
	S3Endpoint        string `env:"LAMINA_S3_ENDPOINT" name:"s3-endpoint" placeholder:"URL" help:"Another S3, which code and layers are then read from, path-style, such as http://127.0.0.1:9000. Lamina's own is not served."`
	S3AccessKeyID     string `env:"LAMINA_S3_ACCESS_KEY_ID" name:"s3-access-key-id" help:"Access key for it; that of the root when absent."`
	S3SecretAccessKey string `env:"LAMINA_S3_SECRET_ACCESS_KEY" name:"s3-secret-access-key" help:"Secret of that key."`

	Blobs                string `env:"LAMINA_BLOBS" placeholder:"s3://BUCKET/PREFIX" help:"Bucket that code and layer archives are kept in, for many servers of one --database; the data directory when absent."`
	BlobsEndpoint        string `env:"LAMINA_BLOBS_ENDPOINT" placeholder:"URL" help:"S3 that has the bucket, path-style, such as http://127.0.0.1:9000; AWS's of the region when absent."`
	BlobsRegion          string `env:"LAMINA_BLOBS_REGION" help:"Region of the bucket; --region when absent."`
	BlobsAccessKeyID     string `env:"LAMINA_BLOBS_ACCESS_KEY_ID" help:"Access key for it; that of the root when absent."`
	BlobsSecretAccessKey string `env:"LAMINA_BLOBS_SECRET_ACCESS_KEY" help:"Secret of that key."`
	BlobsCacheBytes      int64  `env:"LAMINA_BLOBS_CACHE_BYTES" default:"1073741824" help:"What archives from the bucket may take on the disk, besides those in use; those not used for the longest time go first."`

	SQSEndpoint        string        `env:"LAMINA_SQS_ENDPOINT" name:"sqs-endpoint" placeholder:"URL" help:"SQS that destinations and dead-letter queues of events are in, such as http://127.0.0.1:9324."`
	SQSAccessKeyID     string        `env:"LAMINA_SQS_ACCESS_KEY_ID" name:"sqs-access-key-id" help:"Access key for it; that of the root when absent."`
	SQSSecretAccessKey string        `env:"LAMINA_SQS_SECRET_ACCESS_KEY" name:"sqs-secret-access-key" help:"Secret of that key."`
	EventRetryDelay    time.Duration `env:"LAMINA_EVENT_RETRY_DELAY" default:"1m" help:"Wait before the first retry of an asynchronous invocation; the second waits twice as long. AWS has 1m."`

	HotReload          []string `env:"LAMINA_HOT_RELOAD" placeholder:"DIR" type:"existingdir" help:"Directory whose subdirectories functions and layers may run from as they are: S3Bucket=hot-reload, S3Key=/the/subdirectory. For development. Repeatable; none by default."`
	EC2Endpoint        string   `env:"LAMINA_EC2_ENDPOINT" name:"ec2-endpoint" placeholder:"URL" help:"EC2 that the subnets and security groups of functions are looked up in; unchecked when absent."`
	EC2AccessKeyID     string   `env:"LAMINA_EC2_ACCESS_KEY_ID" name:"ec2-access-key-id" help:"Access key for it; that of the root when absent."`
	EC2SecretAccessKey string   `env:"LAMINA_EC2_SECRET_ACCESS_KEY" name:"ec2-secret-access-key" help:"Secret of that key."`
}

var twelveDigits = regexp.MustCompile(`^\d{12}$`)

// Validate is called by kong after parsing.
func (s *settings) Validate() error {
	if !twelveDigits.MatchString(s.Account) {
		return fmt.Errorf("--account %q: want 12 digits", s.Account)
	}
	if (s.TLSCertificate == "") != (s.TLSKey == "") {
		return fmt.Errorf("--tls-certificate and --tls-key: give both or neither")
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey == "") {
		return fmt.Errorf("--access-key-id and --secret-access-key: give both or neither")
	}
	if (s.S3AccessKeyID == "") != (s.S3SecretAccessKey == "") {
		return fmt.Errorf("--s3-access-key-id and --s3-secret-access-key: give both or neither")
	}
	if (s.BlobsAccessKeyID == "") != (s.BlobsSecretAccessKey == "") {
		return fmt.Errorf("--blobs-access-key-id and --blobs-secret-access-key: give both or neither")
	}
	if s.Blobs != "" {
		if _, err := blob.ParseLocation(s.Blobs); err != nil {
			return fmt.Errorf("--blobs %w", err)
		}
	}
	if s.BlobsEndpoint != "" {
		if _, err := blob.ParseEndpoint(s.BlobsEndpoint); err != nil {
			return fmt.Errorf("--blobs-endpoint: %w", err)
		}
	}
	if s.BlobsCacheBytes < 0 {
		return fmt.Errorf("--blobs-cache-bytes %d: want 0 or more", s.BlobsCacheBytes)
	}
	if (s.SQSAccessKeyID == "") != (s.SQSSecretAccessKey == "") {
		return fmt.Errorf("--sqs-access-key-id and --sqs-secret-access-key: give both or neither")
	}
	if s.SQSEndpoint != "" {
		if _, err := peer.ParseEndpoint(s.SQSEndpoint); err != nil {
			return fmt.Errorf("--sqs-endpoint: %w", err)
		}
	}
	if s.EventRetryDelay < 0 || s.EventRetryDelay > time.Hour {
		return fmt.Errorf("--event-retry-delay %v: want 0s to 1h", s.EventRetryDelay)
	}
	if s.S3Endpoint != "" {
		if _, err := objects.ParseEndpoint(s.S3Endpoint); err != nil {
			return fmt.Errorf("--s3-endpoint: %w", err)
		}
	}
	if (s.EC2AccessKeyID == "") != (s.EC2SecretAccessKey == "") {
		return fmt.Errorf("--ec2-access-key-id and --ec2-secret-access-key: give both or neither")
	}
	if s.EC2Endpoint != "" {
		if _, err := networks.ParseEndpoint(s.EC2Endpoint); err != nil {
			return fmt.Errorf("--ec2-endpoint: %w", err)
		}
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		return fmt.Errorf("--listen %q: want HOST:PORT", s.Listen)
	}
	if _, err := s.limits(); err != nil {
		return err
	}
	if s.OTLPEndpoint != "" {
		if _, err := traces.ParseEndpoint(s.OTLPEndpoint); err != nil {
			return fmt.Errorf("--otlp-endpoint %w", err)
		}
	}
	if _, err := traces.ParseHeaders(s.OTLPHeaders); err != nil {
		return fmt.Errorf("--otlp-headers: %w", err)
	}
	if !(s.OTLPRatio >= 0 && s.OTLPRatio <= 1) { // NaN is neither
		return fmt.Errorf("--otlp-ratio %v: want 0 to 1", s.OTLPRatio)
	}
	if s.LogsBytes < logs.MinBytes {
		return fmt.Errorf("--logs-bytes %d: want at least %d", s.LogsBytes, logs.MinBytes)
	}
	if s.AuditBytes != 0 && s.AuditBytes < audit.MinBytes {
		return fmt.Errorf("--audit-bytes %d: want 0, or at least %d", s.AuditBytes, audit.MinBytes)
	}
	for _, l := range s.Library {
		if name, dir, ok := strings.Cut(l, "="); !ok || name == "" || !filepath.IsAbs(dir) {
			return fmt.Errorf("--library %q: want NAME=/ABSOLUTE/DIRECTORY", l)
		}
	}
	for _, r := range s.Runtime {
		if name, path, ok := strings.Cut(r, "="); !ok || name == "" || !filepath.IsAbs(path) {
			return fmt.Errorf("--runtime %q: want NAME=/ABSOLUTE/PATH", r)
		}
	}
	return nil
}

// limits are the defaults with what the operator set.
func (s *settings) limits() (lamina.Limits, error) {
	limits := lamina.DefaultLimits()
	for _, l := range s.Limit {
		name, text, _ := strings.Cut(l, "=")
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return limits, fmt.Errorf("--limit %q: want NAME=VALUE, the value a whole number", l)
		}
		if err := limits.Set(name, value); err != nil {
			return limits, fmt.Errorf("--limit: %w", err)
		}
	}
	if err := limits.Check(); err != nil {
		return limits, fmt.Errorf("--limit: %w", err)
	}
	return limits, nil
}

// The files of the data directory.
func (s *settings) file(name string) string { return filepath.Join(s.Data, name) }

const (
	keyFile      = "root-key.json"
	metricsFile  = "metrics-token"
	databaseFile = "lamina.db"      // without --database
	endpointFile = "endpoint"       // URL of the server that last used the directory
	localFile    = "local-endpoint" // its URL for programs on this host that have the root key
	tlsDir       = "tls"            // of the server's own authority
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
		if (strings.HasSuffix(flag.Name, "secret-access-key") || flag.Name == "otlp-headers") && text != "" {
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
