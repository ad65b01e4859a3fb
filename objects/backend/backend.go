package backend

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/pkg/xattr"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
)

// Verb is the argument with which the lamina binary becomes the child.
const Verb = "s3-backend"

// Settings are what the parent tells the child.
type Settings struct {
	Dir       string // absolute; buckets are below it
	Socket    string // where to listen
	AccessKey string
	SecretKey string
}

// The directories below [Settings.Dir]. Objects have their names on the disk,
// versions that are not the latest are apart, and so is metadata where the file
// system has no extended attributes.
const (
	bucketsDir  = "buckets"
	versionsDir = "versions"
	metadataDir = "metadata"
)

// Region is the one that requests to the child are signed for.
const Region = "us-east-1"

const (
	requests    = 512       // at once; the parent sends fewer
	bufferBytes = 256 << 10 // of a request that copies
	copyBytes   = 5 << 30   // of an object that is copied at once, as at S3
	readyFile   = 3
)

// Main is the child's life. It returns never.
func Main() {
	ready := os.NewFile(readyFile, "ready")
	if ready == nil {
		os.Exit(2)
	}
	// What the parent's terminal sends is for the parent; its end is our end.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	debug.SetGCPercent(50)
	var s Settings
	in := json.NewDecoder(os.Stdin)
	err := in.Decode(&s)
	if err == nil {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		err = serve(s, func() {
			fmt.Fprintln(ready, "ready")
			ready.Close()
		})
	}
	fmt.Fprintln(ready, err)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// serve answers requests until the process ends.
func serve(s Settings, listening func()) error {
	held, err := lock(s.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	for _, dir := range []string{bucketsDir, versionsDir} {
		if err := os.MkdirAll(filepath.Join(s.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("make the directory of buckets: %w", err)
		}
	}
	metadata, sidecar, err := storer(s.Dir)
	if err != nil {
		return err
	}
	o := posix.PosixOpts{
		VersioningDir: filepath.Join(s.Dir, versionsDir), SideCarDir: sidecar,
		IOBufferSize: bufferBytes, ForceNoObjLockFile: true, // this process is the only one
		ValidateBucketNames: true, CopyObjectThreshold: copyBytes,
	}
	o.SetNewDirPerm(0o700)
	o.SetNewFilePerm(0o600)
	files, err := posix.New(filepath.Join(s.Dir, bucketsDir), versionsFirst{metadata}, o)
	if err != nil {
		return fmt.Errorf("open the buckets: %w", err)
	}
	disk, err := newDurable(files, s.Dir)
	if err != nil {
		return err
	}
	root := auth.Account{Access: s.AccessKey, Secret: s.SecretKey, Role: auth.RoleAdmin}
	server, err := s3api.New(disk, middlewares.RootUserConfig{Access: root.Access, Secret: root.Secret}, Region,
		auth.NewIAMServiceSingle(root), nil, nil, nil, nil,
		s3api.WithKeepAlive(), s3api.WithQuiet(), s3api.WithDisableACL(), s3api.WithMpMaxParts(10_000),
		s3api.WithConcurrencyLimiter(requests, requests), s3api.WithSocketPerm(0o600), s3api.WithOnListen(listening))
	if err != nil {
		return fmt.Errorf("make the S3 server: %w", err)
	}
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an earlier socket: %w", err)
	}
	return fmt.Errorf("serve S3: %w", server.ServeMultiPort([]string{s.Socket}))
}

// lock waits until an earlier child has let go of the directory, and keeps it
// until the file is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of buckets: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the directory of buckets: %w", err)
	}
	return f, nil
}

// storer chooses where metadata is kept, by what the file system can do, and
// stays with what was chosen at first: the objects that are there have it so.
func storer(dir string) (_ meta.MetadataStorer, sidecar string, err error) {
	sidecar = filepath.Join(dir, metadataDir)
	switch _, err := os.Stat(sidecar); {
	case err == nil:
	case !errors.Is(err, os.ErrNotExist):
		return nil, "", fmt.Errorf("look for metadata: %w", err)
	case probe(dir) == nil:
		return meta.XattrMeta{}, "", nil
	default:
		if err := os.Mkdir(sidecar, 0o700); err != nil {
			return nil, "", fmt.Errorf("make the directory of metadata: %w", err)
		}
	}
	m, err := meta.NewSideCar(sidecar)
	if err != nil {
		return nil, "", fmt.Errorf("open the metadata: %w", err)
	}
	return m, sidecar, nil
}

// probe tries an extended attribute as large as metadata may become. Some file
// systems have none for ordinary users, some only small ones.
func probe(dir string) error {
	f, err := os.CreateTemp(filepath.Join(dir, versionsDir), ".probe-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return xattr.FSet(f, "user.lamina-probe", make([]byte, probeBytes))
}

// probeBytes is user metadata of an object at its longest, as it is stored.
const probeBytes = 3 << 10
