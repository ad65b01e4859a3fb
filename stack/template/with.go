package template

import "maps"

// With is the scope with other values of some parameters. Its conditions stay
// those of s.
func (s *Scope) With(parameters map[string]string) *Scope {
	other := *s
	other.parameters = maps.Clone(s.parameters)
	maps.Copy(other.parameters, parameters)
	return &other
}
