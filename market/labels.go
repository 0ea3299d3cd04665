package market

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spare-network/spare/protocol"
)

const labelHint = "see 'spare offers -o wide', or leave --where away"

// unmet returns the first wish of the task's for a label that o does not meet.
func (n Need) unmet(o *protocol.Offer) (protocol.Wish, bool) {
	i := slices.IndexFunc(n.Labels, func(w protocol.Wish) bool { return !w.Met(o.Labels) })
	if i < 0 {
		return protocol.Wish{}, false
	}
	return n.Labels[i], true
}

// unmetWords says why the labels of o do not meet a wish.
func unmetWords(w protocol.Wish, o *protocol.Offer) string {
	value, has := o.Labels[w.Key]
	switch {
	case w.Not:
		return fmt.Sprintf("has %s=%s, which the task does not want", w.Key, value)
	case has:
		return fmt.Sprintf("has %s=%s, the task wants %s", w.Key, value, w)
	default:
		return fmt.Sprintf("has no label %s, the task wants %s", w.Key, w)
	}
}

// unmetByAll names the wishes that no offer of a list meets or, when each meets
// some, all of them together; it is empty when one offer meets all.
func (n Need) unmetByAll(list []Candidate) string {
	var each, all []string
	for _, w := range n.Labels {
		all = append(all, w.String())
		if !slices.ContainsFunc(list, func(c Candidate) bool { return w.Met(c.Offer.Labels) }) {
			each = append(each, w.String())
		}
	}
	one := slices.ContainsFunc(list, func(c Candidate) bool { _, unmet := n.unmet(c.Offer); return !unmet })
	switch {
	case one || len(list) == 0:
		return ""
	case len(each) > 0:
		return strings.Join(each, " or ")
	default:
		return strings.Join(all, " and ") + " together"
	}
}

// labelsOf tells which labels there are, the most common first, each with how
// many have it.
func labelsOf(list []Candidate) string {
	const most = 8
	times := make(map[string]int)
	for _, c := range list {
		for _, text := range protocol.LabelTexts(c.Offer.Labels) {
			times[text]++
		}
	}
	if len(times) == 0 {
		return "nobody has labels"
	}
	texts := make([]string, 0, len(times))
	for text := range times {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		return cmp.Or(cmp.Compare(times[b], times[a]), strings.Compare(a, b))
	})
	more := ""
	if len(texts) > most {
		texts, more = texts[:most], " and more"
	}
	for i, text := range texts {
		texts[i] = fmt.Sprintf("%s (%d)", text, times[text])
	}
	return "there are " + strings.Join(texts, ", ") + more
}
