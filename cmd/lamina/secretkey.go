package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/lamina-run/lamina/internal/fsx"
	"github.com/lamina-run/lamina/store"
)

// secretKey reads the key that seals secrets in the database, and makes it when
// there is none.
func (s *settings) secretKey() ([]byte, error) {
	file := s.SecretKeyFile
	if file == "" {
		file = s.file("secret-key")
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, store.SecretKeyBytes)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		// On disk before anything is sealed with it.
		return key, fsx.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != store.SecretKeyBytes {
		return nil, fmt.Errorf("%s has no %d bytes in base64", file, store.SecretKeyBytes)
	}
	return key, nil
}
