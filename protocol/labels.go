package protocol

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Bounds of the labels of a node, which every Offer carries.
const (
	MaxLabels     = 16
	MaxLabelKey   = 32 // bytes
	MaxLabelValue = 32 // bytes
	// MaxWishes is the largest number of wishes of a task.
	MaxWishes = 16
)

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
	// In keys and values alike, but not at their beginning.
	marks = "._-"
)

// LabelRule says for people what a label may be.
const LabelRule = "a key of a-z, 0-9, '.', '_' and '-', which begins with a letter, and a value of the same and A-Z, which begins with a letter or digit; each has at most 32 characters"

func isLabelKey(s string) bool {
	return s != "" && len(s) <= MaxLabelKey && strings.IndexByte(lower, s[0]) >= 0 && strings.Trim(s, lower+digits+marks) == ""
}

func isLabelValue(s string) bool {
	const first = lower + digits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && len(s) <= MaxLabelValue && strings.IndexByte(first, s[0]) >= 0 && strings.Trim(s, first+marks) == ""
}

// ParseLabel reads KEY=VALUE. It fails with [CodeBadRequest].
func ParseLabel(text string) (key, value string, err error) {
	key, value, _ = strings.Cut(text, "=")
	if !isLabelKey(key) || !isLabelValue(value) {
		return "", "", Errorf(CodeBadRequest, "%.80q is no label", SafeText(text)).WithHint("one looks like site=berlin: %s", LabelRule)
	}
	return key, value, nil
}

// ValidateLabels checks the labels of a node, which may be a peer's.
func ValidateLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("%w: %d labels", ErrMalformed, len(labels))
	}
	for key, value := range labels {
		if !isLabelKey(key) || !isLabelValue(value) {
			return fmt.Errorf("%w: label %.40q=%.40q", ErrMalformed, key, value)
		}
	}
	return nil
}

// LabelTexts writes labels as [ParseLabel] reads them, sorted.
func LabelTexts(labels map[string]string) []string {
	list := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, key+"="+labels[key])
	}
	return list
}

// Wish is what one label of a provider must be.
type Wish struct {
	Key   string
	Value string // empty: any
	Not   bool   // it must have another value, or none
}

// ParseWish reads KEY=VALUE, KEY!=VALUE, or KEY for any value. It fails with
// [CodeBadRequest].
func ParseWish(text string) (Wish, error) {
	key, value, valued := strings.Cut(text, "=")
	w := Wish{Key: key, Value: value}
	if valued {
		w.Key, w.Not = strings.CutSuffix(key, "!")
	}
	if !isLabelKey(w.Key) || valued && !isLabelValue(w.Value) {
		return Wish{}, Errorf(CodeBadRequest, "%.80q says nothing of a label", SafeText(text)).
			WithHint("write site=berlin, site!=berlin or site: %s", LabelRule)
	}
	return w, nil
}

// ParseWishes reads a list of them.
func ParseWishes(texts []string) ([]Wish, error) {
	if len(texts) > MaxWishes {
		return nil, Errorf(CodeBadRequest, "%d wishes for labels, at most %d", len(texts), MaxWishes)
	}
	var list []Wish
	for _, text := range texts {
		w, err := ParseWish(text)
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// String writes w as [ParseWish] reads it.
func (w Wish) String() string {
	switch {
	case w.Value == "":
		return w.Key
	case w.Not:
		return w.Key + "!=" + w.Value
	default:
		return w.Key + "=" + w.Value
	}
}

// Met reports whether labels are as wished.
func (w Wish) Met(labels map[string]string) bool {
	value, has := labels[w.Key]
	switch {
	case w.Not:
		return value != w.Value
	case w.Value == "":
		return has
	default:
		return value == w.Value
	}
}
