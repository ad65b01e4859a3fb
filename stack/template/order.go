package template

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keyOrder is a map of a template with its keys as they are written.
type keyOrder struct {
	keys []string
	of   map[string]*keyOrder
}

// Order tells in which order a template's maps are written, which the maps that
// [Parse] makes do not. The function returns the keys of the map at a path, nil
// when there is none, for a text that Parse takes; for another one it may return
// anything. It is not safe for concurrent use.
func Order(text string) func(path ...string) []string {
	var root *keyOrder
	read := false
	return func(path ...string) []string {
		if !read {
			root, read = readOrder(text), true
		}
		at := root
		for _, name := range path {
			if at == nil {
				return nil
			}
			at = at.of[name]
		}
		if at == nil {
			return nil
		}
		return at.keys
	}
}

func readOrder(text string) *keyOrder {
	text = strings.TrimPrefix(text, "\uFEFF")
	if len(text) > MaxBytes {
		return nil
	}
	if strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		order, _ := jsonOrder(json.NewDecoder(strings.NewReader(text)), 0)
		return order
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) != 1 {
		return nil
	}
	left := maxNodes
	return yamlOrder(document.Content[0], 0, &left)
}

// jsonOrder reads one value, and reports whether it was whole.
func jsonOrder(d *json.Decoder, depth int) (*keyOrder, bool) {
	t, err := d.Token()
	if err != nil || depth > maxDepth {
		return nil, false
	}
	var out *keyOrder
	switch t {
	case json.Delim('{'):
		out = &keyOrder{of: map[string]*keyOrder{}}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return out, false
			}
			name := key.(string) // the decoder takes nothing else
			out.keys = append(out.keys, name)
			value, whole := jsonOrder(d, depth+1)
			if out.of[name] = value; !whole {
				return out, false
			}
		}
	case json.Delim('['):
		for d.More() {
			if _, whole := jsonOrder(d, depth+1); !whole {
				return nil, false
			}
		}
	default:
		return nil, true
	}
	_, err = d.Token()
	return out, err == nil
}

// yamlOrder follows aliases, and has keys that are merged before a map's own.
func yamlOrder(n *yaml.Node, depth int, left *int) *keyOrder {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if *left--; n.Kind != yaml.MappingNode || depth > maxDepth || *left < 0 {
		return nil
	}
	out := &keyOrder{of: map[string]*keyOrder{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == "<<" && k.ShortTag() == "!!merge" {
			out.merge(n.Content[i+1], depth+1, left)
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		for k.Kind == yaml.AliasNode && k.Alias != nil {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode || k.Value == "<<" && k.ShortTag() == "!!merge" {
			continue
		}
		if _, merged := out.of[k.Value]; !merged {
			out.keys = append(out.keys, k.Value)
		}
		out.of[k.Value] = yamlOrder(n.Content[i+1], depth+1, left)
	}
	return out
}

func (o *keyOrder) merge(n *yaml.Node, depth int, left *int) {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if *left--; depth > maxDepth || *left < 0 {
		return
	}
	if n.Kind == yaml.SequenceNode {
		for _, one := range n.Content {
			o.merge(one, depth+1, left)
		}
		return
	}
	from := yamlOrder(n, depth, left)
	if from == nil {
		return
	}
	for _, name := range from.keys {
		if _, ok := o.of[name]; !ok {
			o.keys = append(o.keys, name)
			o.of[name] = from.of[name]
		}
	}
}
