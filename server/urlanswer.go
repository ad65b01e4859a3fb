package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// urlAnswer is an HTTP response that a function asked for.
type urlAnswer struct {
	status  int
	headers [][2]string
	cookies []string
	body    []byte
}

var errInvalidAnswer = errors.New("the function's answer is no HTTP response")

// readAnswer interprets what a function returned: an object with a statusCode is
// a response, any other JSON the body of one. An error says what is wrong with it.
func readAnswer(payload []byte) (urlAnswer, error) {
	payload = bytes.TrimSpace(payload)
	if !json.Valid(payload) {
		return urlAnswer{}, fmt.Errorf("%w: not JSON", errInvalidAnswer)
	}
	if payload[0] == '{' {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(payload, &members); err != nil {
			return urlAnswer{}, fmt.Errorf("%w: %w", errInvalidAnswer, err)
		}
		if _, ok := members["statusCode"]; ok {
			return readResponse(members)
		}
	}
	body, err := bodyText(payload)
	return urlAnswer{status: http.StatusOK, body: body}, err
}

// readPrelude interprets the metadata in front of a streamed response.
func readPrelude(data []byte) (urlAnswer, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return urlAnswer{}, fmt.Errorf("%w: prelude: %w", errInvalidAnswer, err)
	}
	delete(members, "body")
	return readResponse(members)
}

func readResponse(members map[string]json.RawMessage) (a urlAnswer, err error) {
	a.status = http.StatusOK
	if text, ok := present(members, "statusCode"); ok {
		if a.status, err = strconv.Atoi(strings.Trim(text, `"`)); err != nil || a.status < 200 || a.status > 599 {
			return a, fmt.Errorf("%w: statusCode %.40s", errInvalidAnswer, text)
		}
	}
	if text, ok := present(members, "headers"); ok {
		var headers map[string]any
		if err := json.Unmarshal([]byte(text), &headers); err != nil {
			return a, fmt.Errorf("%w: headers: %w", errInvalidAnswer, err)
		}
		for name, value := range headers {
			line, ok := headerValue(value)
			if !ok || !isToken(name) {
				return a, fmt.Errorf("%w: header %.40q", errInvalidAnswer, name)
			}
			a.headers = append(a.headers, [2]string{name, line})
		}
		slices.SortFunc(a.headers, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	}
	if text, ok := present(members, "cookies"); ok {
		if err := json.Unmarshal([]byte(text), &a.cookies); err != nil {
			return a, fmt.Errorf("%w: cookies: %w", errInvalidAnswer, err)
		}
		for _, c := range a.cookies {
			if !isLine(c) {
				return a, fmt.Errorf("%w: cookie %.40q", errInvalidAnswer, c)
			}
		}
	}
	text, ok := present(members, "body")
	if !ok {
		return a, nil
	}
	if a.body, err = bodyText([]byte(text)); err != nil {
		return a, err
	}
	if encoded, _ := present(members, "isBase64Encoded"); encoded == "true" {
		data, err := base64.StdEncoding.DecodeString(string(a.body))
		if err != nil {
			return a, fmt.Errorf("%w: body: %w", errInvalidAnswer, err)
		}
		a.body = data
	}
	return a, nil
}

// present returns the text of a member that is there and not null.
func present(members map[string]json.RawMessage, name string) (string, bool) {
	text := string(members[name])
	return text, text != "" && text != "null"
}

// bodyText is a JSON value as a body: a string is its text, all else is compact
// JSON.
func bodyText(value []byte) ([]byte, error) {
	if value[0] == '"' {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, fmt.Errorf("%w: %w", errInvalidAnswer, err)
		}
		return []byte(text), nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, value); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalidAnswer, err)
	}
	return out.Bytes(), nil
}

func headerValue(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, isLine(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// isToken reports whether s can name a header.
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	}) < 0
}

// isLine reports whether s can be the value of a header.
func isLine(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// remapped are headers that only the server can know; AWS keeps the function's
// under another name.
var remapped = []string{"Connection", "Content-Length", "Date"}

// writeHeader sends status and headers. What h has already, such as CORS
// settings, is not the function's to change.
func (a urlAnswer) writeHeader(w http.ResponseWriter, contentType string) {
	h := w.Header()
	for _, line := range a.headers {
		name := http.CanonicalHeaderKey(line[0])
		switch {
		case slices.Contains(remapped, name):
			h.Set("X-Amzn-Remapped-"+name, line[1])
		case slices.Contains(connectionHeaders, name):
		case name == "Vary" || name == "Set-Cookie":
			h.Add(name, line[1])
		case h.Get(name) == "":
			h.Set(name, line[1])
		}
	}
	for _, c := range a.cookies {
		h.Add("Set-Cookie", c)
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType)
	}
	w.WriteHeader(a.status)
}

// write sends a response that is whole.
func (a urlAnswer) write(w http.ResponseWriter) {
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		w.Header().Set("Content-Length", decimal(int64(len(a.body))))
	}
	a.writeHeader(w, "application/json")
	_, _ = w.Write(a.body) // the client is gone, or this status has no body
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
