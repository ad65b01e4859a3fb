package identity

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strconv"
)

// newKeyID makes up an access key ID, such as AKIA… or ASIA…, in which the
// account is written as AWS writes it: in 40 bits of the first 48.
func newKeyID(prefix, account string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	n, err := strconv.ParseUint(account, 10, 40)
	if err == nil {
		first := uint64(1)<<47 | n<<7 | uint64(b[5]&0x7f)
		var text [8]byte
		binary.BigEndian.PutUint64(text[:], first<<16)
		copy(b[:6], text[:6])
	}
	return prefix + base32.StdEncoding.EncodeToString(b[:])
}

// keyAccount returns the account that an access key ID of newKeyID names.
func keyAccount(id string) (account string, ok bool) {
	if len(id) != 20 {
		return "", false
	}
	b, err := base32.StdEncoding.DecodeString(id[4:])
	if err != nil || b[0]&0x80 == 0 {
		return "", false
	}
	var text [8]byte
	copy(text[2:], b[:6])
	return fmt.Sprintf("%012d", binary.BigEndian.Uint64(text[:])&^(1<<47)>>7), true
}
