package main

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// placeholder is where a part of an item goes: GNU parallel's replacement
// strings, of which {n}, {n.}, ... are of its n-th column.
var placeholder = regexp.MustCompile(`\{(?:#|(\d*)(\.|//|/\.|/)?)\}`)

// mapItem is one item of a job: what its source has, in columns.
type mapItem struct {
	text    string
	columns []string
}

// expand puts an item, the index-th of its job, into a text.
func (m mapItem) expand(text string, index int) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		if found == "{#}" {
			return strconv.Itoa(index)
		}
		parts := placeholder.FindStringSubmatch(found)
		value := m.text
		if parts[1] != "" {
			n, err := strconv.Atoi(parts[1])
			if err != nil || n < 1 || n > len(m.columns) {
				return "" // as a column that is empty
			}
			value = m.columns[n-1]
		}
		return cut(value, parts[2])
	})
}

// cut takes the part of a path that a placeholder's ending asks for.
func cut(value, ending string) string {
	switch ending {
	case ".":
		return strings.TrimSuffix(value, path.Ext(value))
	case "/":
		return path.Base(value)
	case "//":
		return path.Dir(value)
	case "/.":
		base := path.Base(value)
		return strings.TrimSuffix(base, path.Ext(base))
	default:
		return value
	}
}

// expandArgs makes the args of a task that has several items, of which the first
// is the index-th: an arg with a placeholder comes once for each of them.
func expandArgs(args []string, items []mapItem, index int) (list []string) {
	for _, arg := range args {
		if !placeholder.MatchString(arg) || len(items) == 0 {
			list = append(list, arg)
			continue
		}
		for _, m := range items {
			list = append(list, m.expand(arg, index))
		}
	}
	return list
}

// hasPlaceholder reports whether an item goes anywhere into the texts.
func hasPlaceholder(texts ...[]string) bool {
	return slices.ContainsFunc(slices.Concat(texts...), placeholder.MatchString)
}

// combine makes an item of each combination of one entry of each source, the last
// one varying fastest.
func combine(sources [][]mapItem) []mapItem {
	if len(sources) == 1 {
		return sources[0]
	}
	items := []mapItem{{}}
	for _, source := range sources {
		var next []mapItem
		for _, head := range items {
			for _, tail := range source {
				next = append(next, mapItem{
					text:    strings.TrimPrefix(head.text+" "+tail.text, " "),
					columns: slices.Concat(head.columns, tail.columns),
				})
			}
		}
		items = next
	}
	return items
}
