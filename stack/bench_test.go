package stack

import (
	"fmt"
	"testing"
)

// BenchmarkDeploy creates and deletes a stack of 200 resources that cost nothing
// themselves, half of which need another.
func BenchmarkDeploy(b *testing.B) {
	r := newRig(b).start()
	var all []string
	for i := range 100 {
		all = append(all, thing(fmt.Sprint("A", i), fmt.Sprintf(`"Value": "%d"`, i)), thing(fmt.Sprint("B", i), fmt.Sprintf(`"Value": {"Fn::GetAtt": ["A%d", "Arn"]}`, i)))
	}
	w := things(all...)
	for b.Loop() {
		id := r.create("big", w)
		if s := r.settled(id); s.Status != createComplete {
			b.Fatal(s.Reason)
		}
		r.delete(id)
		if s := r.settled(id); s.Status != deleteComplete {
			b.Fatal(s.Reason)
		}
	}
}
