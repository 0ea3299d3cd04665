package main

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spare-network/spare/protocol"
)

// placeholder is where a part of an item goes: GNU parallel's replacement
// strings, of which {n}, {n.}, ... are of its n-th column, and {-n} of the n-th
// from its end.
var placeholder = regexp.MustCompile(`\{(?:#|(-?[1-9]\d*)?(\.|//|/\.|/)?)\}`)

// mapItem is one item of a job, in columns.
type mapItem []string

// column returns the n-th, from the end if n is below 0.
func (m mapItem) column(n int) (text string, ok bool) {
	if n < 0 {
		n += len(m) + 1
	}
	if n < 1 || n > len(m) {
		return "", false
	}
	return m[n-1], true
}

// expand puts an item, the index-th of its job, into a text.
func (m mapItem) expand(text string, index int) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		if found == "{#}" {
			return strconv.Itoa(index)
		}
		parts := placeholder.FindStringSubmatch(found)
		if parts[1] == "" {
			all := make([]string, len(m))
			for i, column := range m {
				all[i] = cut(column, parts[2])
			}
			return strings.Join(all, " ")
		}
		n, err := strconv.Atoi(parts[1])
		column, ok := m.column(n)
		if err != nil || !ok {
			return "" // as a column that is empty; others have it, see checkPlaceholders
		}
		return cut(column, parts[2])
	})
}

// checkPlaceholders finds those that no item has anything for.
func checkPlaceholders(items []mapItem, texts ...[]string) error {
	most := 0
	for _, m := range items {
		most = max(most, len(m))
	}
	for _, text := range slices.Concat(texts...) {
		for _, parts := range placeholder.FindAllStringSubmatch(text, -1) {
			n, err := strconv.Atoi(parts[1])
			if parts[1] == "" || err == nil && max(n, -n) <= most {
				continue
			}
			has := "items have one column"
			if most > 1 {
				has = "items have at most " + plural(uint64(most), "column")
			}
			return protocol.Errorf(protocol.CodeUsage, "nothing can go where %s is: %s", parts[0], has).
				WithHint("each ::: and -a is a column, and --colsep makes columns of one; braces of a script's own are safe in a file, with -i")
		}
	}
	return nil
}

// cut takes the part of a path that a placeholder's ending asks for. As in GNU
// parallel, paths are texts: nothing of one is cleaned, and one that ends with a
// slash has no last name.
func cut(value, ending string) string {
	name := strings.LastIndexByte(value, '/') + 1
	switch ending {
	case ".":
		return strings.TrimSuffix(value, path.Ext(value))
	case "/":
		return value[name:]
	case "//":
		value = withoutSlashes(value)
		return cmp.Or(withoutSlashes(value[:strings.LastIndexByte(value, '/')+1]), ".")
	case "/.":
		return strings.TrimSuffix(value[name:], path.Ext(value))
	default:
		return value
	}
}

// withoutSlashes takes the slashes from the end of a path, but for the root's.
func withoutSlashes(dir string) string {
	return dir[:min(len(dir), max(1, len(strings.TrimRight(dir, "/"))))]
}

// expandArgs makes the args of a task that has several items, of which the first
// is the index-th: an arg comes once for each of them if something of an item goes
// into it.
func expandArgs(args []string, items []mapItem, index int) (list []string) {
	for _, arg := range args {
		if !hasItem([]string{arg}, nil) {
			list = append(list, mapItem(nil).expand(arg, index))
			continue
		}
		for _, m := range items {
			list = append(list, m.expand(arg, index))
		}
	}
	return list
}

// taskArgs are the args of a task that has several items, of which the first is the
// index-th. They end with the items when nothing says where these go.
func taskArgs(args, inputs []string, items []mapItem, index int) []string {
	list := expandArgs(args, items, index)
	if !hasPlaceholder(args, inputs) {
		list = slices.Concat(append([]mapItem{list}, items...)...)
	}
	return list
}

// hasItem reports whether anything of an item goes into args, or anything at all
// into inputs.
func hasItem(args, inputs []string) bool {
	return hasPlaceholder(inputs) || slices.ContainsFunc(args, func(arg string) bool {
		return slices.ContainsFunc(placeholder.FindAllString(arg, -1), func(found string) bool { return found != "{#}" })
	})
}

// hasPlaceholder reports whether an item goes anywhere into the texts.
func hasPlaceholder(texts ...[]string) bool {
	return slices.ContainsFunc(slices.Concat(texts...), placeholder.MatchString)
}

// combine makes an item of each combination of one entry of each source, the last
// one varying fastest.
func combine(sources [][]mapItem) []mapItem {
	items := []mapItem{nil}
	for _, source := range sources {
		next := make([]mapItem, 0, len(items)*len(source))
		for _, head := range items {
			for _, tail := range source {
				next = append(next, slices.Concat(head, tail))
			}
		}
		items = next
	}
	return items
}

// quoted writes words as shells read them.
func quoted(words ...string) string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = word
		if word == "" || strings.ContainsFunc(word, special) {
			list[i] = "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(list, " ")
}

// special reports whether a shell may make something of a character.
func special(r rune) bool {
	return r < 0x80 && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("%+,-./:=@_", r)
}
