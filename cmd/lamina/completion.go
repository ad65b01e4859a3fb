package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionVerb struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Whose script: ${enum}."`
}

// Run prints a script that completes verbs, flags and their values.
func (v *completionVerb) Run(s streams, parsed *kong.Context) error {
	places := completions(parsed.Model.Node)
	var out strings.Builder
	switch v.Shell {
	case "bash":
		bashCompletion(&out, places)
	case "zsh":
		zshCompletion(&out, places)
	case "fish":
		fishCompletion(&out, places)
	}
	_, err := io.WriteString(s.out, out.String())
	return err
}

// place is where on the command line something can be completed: behind some
// verbs.
type place struct {
	path  string // the verbs, with blanks between them; empty for none yet
	verbs []completion
	flags []flagCompletion
	files bool // the arguments are files
}

type completion struct{ word, help string }

type flagCompletion struct {
	completion        // with its hyphens
	short      string // one letter, or empty
	valued     bool   // a value follows
	values     []string
	file       bool
}

// completions lists all places, outer ones first.
func completions(n *kong.Node) []place {
	return completionsBelow(n, "")
}

func completionsBelow(n *kong.Node, path string) []place {
	p := place{path: path}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			c := flagCompletion{completion: completion{"--" + f.Name, firstSentence(f.Help)}, valued: !f.IsBool(), file: isFile(f.Value)}
			if f.Short != 0 {
				c.short = "-" + string(f.Short)
			}
			if f.Enum != "" {
				for value := range strings.SplitSeq(f.Enum, ",") {
					c.values = append(c.values, strings.TrimSpace(value))
				}
			}
			p.flags = append(p.flags, c)
		}
	}
	for _, arg := range n.Positional {
		p.files = p.files || isFile(arg)
		if arg.Enum != "" {
			for value := range strings.SplitSeq(arg.Enum, ",") {
				p.verbs = append(p.verbs, completion{strings.TrimSpace(value), ""})
			}
		}
	}
	var below []place
	for _, child := range n.Children {
		if child.Hidden || child.Type != kong.CommandNode {
			continue
		}
		p.verbs = append(p.verbs, completion{child.Name, firstSentence(child.Help)})
		below = append(below, completionsBelow(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	return append([]place{p}, below...)
}

func isFile(v *kong.Value) bool {
	return v.Tag != nil && slices.Contains([]string{"path", "existingfile", "existingdir", "filecontent"}, v.Tag.Type)
}

func firstSentence(help string) string {
	if i := strings.Index(help, ". "); i >= 0 {
		help = help[:i]
	}
	first, _, _ := strings.Cut(help, "; ")
	return strings.TrimSuffix(first, ".")
}

// words are the words of completions, with blanks between them.
func words(all []completion) string {
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = c.word
	}
	return strings.Join(out, " ")
}

// shellTables are functions that bash and zsh understand: what is known of places.
func shellTables(out *strings.Builder, places []place) {
	table := func(name string, row func(place) string) {
		fmt.Fprintf(out, "_lamina_%s() {\n  case \"$1\" in\n", name)
		for _, p := range places {
			if text := row(p); text != "" {
				fmt.Fprintf(out, "    %s) echo %s ;;\n", shellQuoted(p.path), shellQuoted(text))
			}
		}
		out.WriteString("  esac\n}\n")
	}
	table("verbs", func(p place) string { return words(p.verbs) })
	table("flags", func(p place) string {
		var all []string
		for _, f := range p.flags {
			all = append(all, f.word)
		}
		return strings.Join(all, " ")
	})
	table("valued", func(p place) string {
		var all []string
		for _, f := range p.flags {
			if f.valued {
				all = append(all, f.word)
				if f.short != "" {
					all = append(all, f.short)
				}
			}
		}
		return strings.Join(all, " ")
	})
	out.WriteString("_lamina_values() {\n  case \"$1 $2\" in\n")
	for _, p := range places {
		for _, f := range p.flags {
			value := strings.Join(f.values, " ")
			if f.file {
				value = "FILES"
			}
			if value == "" {
				continue
			}
			fmt.Fprintf(out, "    %s) echo %s ;;\n", shellQuoted(p.path+" "+f.word), shellQuoted(value))
		}
		if p.files {
			fmt.Fprintf(out, "    %s) echo FILES ;;\n", shellQuoted(p.path+" "))
		}
	}
	out.WriteString("  esac\n}\n")
	// The verbs before the word that is completed, and the flag whose value it is.
	out.WriteString(`_lamina_place() {
  lamina_path= lamina_flag=
  local word known
  for word in "$@"; do
    if [ -n "$lamina_flag" ]; then
      lamina_flag=
      continue
    fi
    case "$word" in
      --*=*) ;;
      -*)
        known=" $(_lamina_valued "$lamina_path") "
        case "$known" in *" $word "*) lamina_flag=$word ;; esac
        ;;
      *)
        known=" $(_lamina_verbs "$lamina_path") "
        case "$known" in *" $word "*) lamina_path="${lamina_path:+$lamina_path }$word" ;; esac
        ;;
    esac
  done
}
`)
}

// shellQuoted is s as one word, always in quotes: in a pattern of case, too.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func bashCompletion(out *strings.Builder, places []place) {
	out.WriteString("# Completion of lamina for bash. In ~/.bashrc: source <(lamina completion bash)\n")
	shellTables(out, places)
	out.WriteString(`_lamina() {
  local lamina_path lamina_flag cur=${COMP_WORDS[COMP_CWORD]} known
  COMPREPLY=()
  _lamina_place "${COMP_WORDS[@]:1:COMP_CWORD-1}"
  if [ -n "$lamina_flag" ]; then
    known=$(_lamina_values "$lamina_path" "$lamina_flag")
  elif [[ $cur == -* ]]; then
    known="$(_lamina_flags "$lamina_path") --help"
  else
    known=$(_lamina_verbs "$lamina_path")
    [ -n "$known" ] || known=$(_lamina_values "$lamina_path" "")
  fi
  if [ "$known" = FILES ]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -W "$known" -- "$cur")
  fi
}
complete -F _lamina lamina
`)
}

func zshCompletion(out *strings.Builder, places []place) {
	out.WriteString("#compdef lamina\n# Completion of lamina for zsh. In ~/.zshrc, after compinit: source <(lamina completion zsh)\n")
	shellTables(out, places)
	out.WriteString(`_lamina() {
  local lamina_path lamina_flag known
  _lamina_place "${(@)words[2,CURRENT-1]}"
  if [ -n "$lamina_flag" ]; then
    known=$(_lamina_values "$lamina_path" "$lamina_flag")
  elif [[ ${words[CURRENT]} == -* ]]; then
    known="$(_lamina_flags "$lamina_path") --help"
  else
    known=$(_lamina_verbs "$lamina_path")
    [ -n "$known" ] || known=$(_lamina_values "$lamina_path" "")
  fi
  if [ "$known" = FILES ]; then
    _files
  else
    compadd -- ${=known}
  fi
}
if [ "$funcstack[1]" = _lamina ]; then
  _lamina "$@"
else
  compdef _lamina lamina
fi
`)
}

func fishCompletion(out *strings.Builder, places []place) {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	out.WriteString("# Completion of lamina for fish: lamina completion fish > ~/.config/fish/completions/lamina.fish\n")
	out.WriteString("function __lamina_path\n  set -l path\n  set -l skip 0\n  for word in (commandline -opc)[2..-1]\n")
	out.WriteString("    if test $skip = 1\n      set skip 0\n      continue\n    end\n    switch \"$path|$word\"\n")
	for _, p := range places {
		var valued []string
		for _, f := range p.flags {
			if f.valued {
				valued = append(valued, quote(p.path+"|"+f.word))
				if f.short != "" {
					valued = append(valued, quote(p.path+"|"+f.short))
				}
			}
		}
		if len(valued) > 0 {
			fmt.Fprintf(out, "      case %s\n        set skip 1\n", strings.Join(valued, " "))
		}
		for _, v := range p.verbs {
			fmt.Fprintf(out, "      case %s\n        set path %s\n", quote(p.path+"|"+v.word), quote(strings.TrimSpace(p.path+" "+v.word)))
		}
	}
	out.WriteString("    end\n  end\n  echo \"$path\"\nend\ncomplete -c lamina -f\n")
	for _, p := range places {
		at := "complete -c lamina -n " + quote("test (__lamina_path) = "+quote(p.path))
		for _, v := range p.verbs {
			fmt.Fprintf(out, "%s -a %s -d %s\n", at, quote(v.word), quote(v.help))
		}
		if p.files {
			fmt.Fprintf(out, "%s -F\n", at)
		}
		for _, f := range p.flags {
			fmt.Fprintf(out, "%s -l %s", at, quote(strings.TrimPrefix(f.word, "--")))
			if f.short != "" {
				fmt.Fprintf(out, " -s %s", quote(strings.TrimPrefix(f.short, "-")))
			}
			switch {
			case f.file:
				out.WriteString(" -r -F")
			case len(f.values) > 0:
				fmt.Fprintf(out, " -x -a %s", quote(strings.Join(f.values, " ")))
			case f.valued:
				out.WriteString(" -x")
			}
			fmt.Fprintf(out, " -d %s\n", quote(f.help))
		}
	}
}
