package backend

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3response"
)

// BenchmarkPut is what it costs that an object is on the disk when it is
// acknowledged: alone, and eight at once, which share syncs.
func BenchmarkPut(b *testing.B) {
	dir := b.TempDir()
	for _, name := range []string{bucketsDir, versionsDir} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	m, _, err := storer(dir)
	if err != nil {
		b.Fatal(err)
	}
	files, err := posix.New(filepath.Join(dir, bucketsDir), m, posix.PosixOpts{VersioningDir: filepath.Join(dir, versionsDir)})
	if err != nil {
		b.Fatal(err)
	}
	d, err := newDurable(files, dir)
	if err != nil {
		b.Fatal(err)
	}
	bucket := "bucket"
	if err := d.CreateBucket(b.Context(), &s3.CreateBucketInput{Bucket: &bucket, CreateBucketConfiguration: &types.CreateBucketConfiguration{}}, []byte("{}")); err != nil {
		b.Fatal(err)
	}
	var keys atomic.Int64
	body := bytes.Repeat([]byte("x"), 64<<10)
	length := int64(len(body))
	for name, put := range map[string]func(string) error{
		"synced": func(key string) error {
			_, err := d.PutObject(b.Context(), s3response.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ContentLength: &length})
			return err
		},
		"not synced": func(key string) error {
			_, err := files.PutObject(b.Context(), s3response.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ContentLength: &length})
			return err
		},
	} {
		b.Run(name+", alone", func(b *testing.B) {
			for b.Loop() {
				if err := put("k"); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+", eight at once", func(b *testing.B) {
			b.SetParallelism(4) // on two processors
			b.RunParallel(func(p *testing.PB) {
				key := fmt.Sprint("k", keys.Add(1))
				for p.Next() {
					if err := put(key); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
