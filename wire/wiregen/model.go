package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// notice travels with the trimmed model, as its licence asks.
const notice = "Derived from the AWS Lambda service model of botocore, Copyright Amazon.com, Inc. or its affiliates, " +
	"licensed under the Apache License, Version 2.0. Documentation text has been removed."

// model is the part of a service model that the generator reads, and all that
// the trimmed copy keeps.
type model struct {
	Notice     string             `json:"notice,omitempty"`
	Version    string             `json:"version,omitempty"`
	Operations ordered[operation] `json:"operations"`
	Shapes     ordered[shape]     `json:"shapes"`
}

type operation struct {
	Name string `json:"name"`
	HTTP struct {
		Method string `json:"method"`
		URI    string `json:"requestUri"`
		Status int    `json:"responseCode"`
	} `json:"http"`
	Input  *ref  `json:"input,omitempty"`
	Output *ref  `json:"output,omitempty"`
	Errors []ref `json:"errors,omitempty"`
}

type ref struct {
	Shape        string `json:"shape"`
	Location     string `json:"location,omitempty"`
	LocationName string `json:"locationName,omitempty"`
}

type shape struct {
	Type        string       `json:"type"`
	Required    []string     `json:"required,omitempty"`
	Members     ordered[ref] `json:"members,omitzero"`
	Payload     string       `json:"payload,omitempty"`
	Member      *ref         `json:"member,omitempty"`
	Key         *ref         `json:"key,omitempty"`
	Value       *ref         `json:"value,omitempty"`
	Enum        []string     `json:"enum,omitempty"`
	Min         *float64     `json:"min,omitempty"`
	Max         *float64     `json:"max,omitempty"`
	Pattern     string       `json:"pattern,omitempty"`
	Sensitive   bool         `json:"sensitive,omitempty"`
	Exception   bool         `json:"exception,omitempty"`
	Fault       bool         `json:"fault,omitempty"`
	EventStream bool         `json:"eventstream,omitempty"`
	Error       *struct {
		Status      int  `json:"httpStatusCode"`
		SenderFault bool `json:"senderFault,omitempty"`
	} `json:"error,omitempty"`
}

// ordered is a JSON object that remembers the order of its members, which is
// the order of the generated fields and of the validation messages.
type ordered[T any] struct {
	Keys []string
	Of   map[string]T
}

func (o ordered[T]) IsZero() bool { return len(o.Keys) == 0 }

func (o *ordered[T]) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &o.Of); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		o.Keys = append(o.Keys, key.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}

func (o ordered[T]) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, key := range o.Keys {
		if i > 0 {
			out.WriteByte(',')
		}
		k, err := plainJSON(key)
		if err != nil {
			return nil, err
		}
		v, err := plainJSON(o.Of[key])
		if err != nil {
			return nil, err
		}
		out.Write(k)
		out.WriteByte(':')
		out.Write(v)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func plainJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(out.Bytes(), "\n"), err
}

// readModel reads a service model, compressed or not.
func readModel(file string) (*model, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		var plain bytes.Buffer
		if _, err := plain.ReadFrom(z); err != nil {
			return nil, err
		}
		b = plain.Bytes()
	}
	var m model
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read model %s: %w", file, err)
	}
	return &m, nil
}

// trim writes the part of m that the generator reads.
func trim(m *model, file string) error {
	m.Notice = notice
	b, err := plainJSON(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		return err
	}
	out.WriteByte('\n')
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// installed asks Python where botocore keeps the model.
func installed() (string, error) {
	const script = `import botocore, glob, os
print(glob.glob(os.path.join(os.path.dirname(botocore.__file__), "data/lambda/2015-03-31/service-2.json*"))[0])`
	out, err := exec.Command("python3", "-c", script).Output()
	if err != nil {
		return "", fmt.Errorf("find the model in botocore: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
