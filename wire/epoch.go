package wire

import (
	"math"
	"strconv"
	"time"
)

// Epoch is an instant that travels as seconds since 1970, with milliseconds as
// its fraction.
type Epoch struct{ time.Time }

// MarshalJSON writes the number.
func (e Epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(e.UnixMilli())/1000, 'f', -1, 64), nil
}

// epochOf is the instant of a number of seconds.
func epochOf(seconds float64) Epoch {
	whole, fraction := math.Modf(seconds)
	return Epoch{time.Unix(int64(whole), int64(math.Round(fraction*1e3))*1e6).UTC()}
}
