package lamina

import (
	"strings"
	"testing"
)

func TestImageCode(t *testing.T) {
	t.Parallel()
	hex := strings.Repeat("0a", 32)
	for uri, want := range map[string]string{ // to the repository that ResolvedImageUri repeats
		"000000000000.dkr.ecr.eu-west-1.amazonaws.com/app:latest":             "000000000000.dkr.ecr.eu-west-1.amazonaws.com/app",
		"000000000000.dkr.ecr.eu-west-1.amazonaws.com/team/app@sha256:" + hex: "000000000000.dkr.ecr.eu-west-1.amazonaws.com/team/app",
		"localhost:5000/app:v1@sha256:" + hex:                                 "localhost:5000/app",
		"registry.example/app":                                                "",
		"app:latest":                                                          "",
		"registry.example/App:latest":                                         "",
		"registry.example/app:":                                               "",
		"registry.example/../app:latest":                                      "",
		"https://registry.example/app:latest":                                 "",
		"registry.example/app@sha256:" + hex[1:]:                              "",
		"":                                                                    "",
	} {
		c, ok := ImageCode(uri)
		if ok != (want != "") {
			t.Errorf("ImageCode(%s) = %t; want %t", uri, ok, want != "")
		}
		if !ok {
			continue
		}
		if got := c.ResolvedImageURI(); got != want+"@sha256:"+c.CodeSHA256() {
			t.Errorf("ResolvedImageURI of %s = %s; want that of %s", uri, got, want)
		}
		if strings.Contains(uri, "@") && c.CodeSHA256() != hex {
			t.Errorf("CodeSHA256 of %s = %s; want the digest of the URI", uri, c.CodeSHA256())
		}
		if again, _ := ImageCode(uri); again != c {
			t.Errorf("ImageCode(%s) twice = %v, %v; want the same", uri, c, again)
		}
	}
	one, _ := ImageCode("localhost:5000/app:1")
	two, _ := ImageCode("localhost:5000/app:2")
	if one.Digest == two.Digest {
		t.Error("two tags have one digest")
	}
}
