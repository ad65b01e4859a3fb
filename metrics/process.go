package metrics

import "runtime/metrics"

// WriteGo writes what every program in Go has to tell, under the names that
// Prometheus' own client gives it.
func WriteGo(t *Text) {
	samples := []metrics.Sample{
		{Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	number := func(i int) float64 {
		if v := samples[i].Value; v.Kind() == metrics.KindUint64 {
			return float64(v.Uint64())
		}
		return 0 // a version of Go that knows it no more
	}
	t.Family("go_goroutines", Gauge, "Goroutines that there are.")
	t.Sample(number(0))
	t.Family("go_memstats_heap_alloc_bytes", Gauge, "Bytes of objects in the heap.")
	t.Sample(number(1))
	t.Family("go_memory_used_bytes", Gauge, "Memory that the Go runtime has of the system.")
	t.Sample(number(2) - number(3))
	t.Family("go_gc_cycles_total", Counter, "Garbage collections.")
	t.Sample(number(4))
}
