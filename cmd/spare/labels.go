package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

// labels is the value of --label.
type labels map[string]string

func (l *labels) String() string { return strings.Join(protocol.LabelTexts(*l), ",") }

// Type names the value in the help.
func (l *labels) Type() string { return "KEY=VALUE" }

// Set adds a label. The last value of a key wins.
func (l *labels) Set(text string) error {
	key, value, err := protocol.ParseLabel(text)
	if err != nil {
		return errors.New("must be like site=berlin: " + protocol.LabelRule)
	}
	if *l == nil {
		*l = make(labels)
	}
	(*l)[key] = value
	if len(*l) > protocol.MaxLabels {
		return fmt.Errorf("can be given for %d labels at most", protocol.MaxLabels)
	}
	return nil
}

// wishes is the value of --where.
type wishes []string

func (w *wishes) String() string { return "" }

// Type names the value in the help.
func (w *wishes) Type() string { return "LABEL" }

// Set adds what a label must be.
func (w *wishes) Set(text string) error {
	if _, err := protocol.ParseWish(text); err != nil {
		return errors.New("must be like site=berlin, site!=berlin or site")
	}
	if *w = append(*w, text); len(*w) > protocol.MaxWishes {
		return fmt.Errorf("can be given %d times at most", protocol.MaxWishes)
	}
	return nil
}

// met leaves the offers whose labels are as wished, and tells on stderr which
// labels there are when none is.
func (w wishes) met(stderr io.Writer, offers []api.Offer) ([]api.Offer, error) {
	list, err := protocol.ParseWishes(w)
	if err != nil {
		return nil, err
	}
	unmet := func(o api.Offer) bool {
		return slices.ContainsFunc(list, func(w protocol.Wish) bool { return !w.Met(o.Labels) })
	}
	left := slices.DeleteFunc(slices.Clone(offers), unmet)
	if len(left) == 0 && len(offers) > 0 {
		there := make(map[string]bool)
		for _, o := range offers {
			for _, text := range protocol.LabelTexts(o.Labels) {
				there[text] = true
			}
		}
		said := "nobody has labels"
		if len(there) > 0 {
			said = "there are " + strings.Join(slices.Sorted(maps.Keys(there)), ", ")
		}
		fmt.Fprintf(stderr, "spare: none of %d offers has %s: %s\n", len(offers), strings.Join(w, " and "), said)
	}
	return left, nil
}

// labelsText writes labels for people.
func labelsText(labels map[string]string) string {
	return strings.Join(protocol.LabelTexts(labels), ", ")
}

// setLabels takes the section [labels] of config.toml.
func setLabels(cfg *node.Config, section any) *protocol.Error {
	keys, ok := section.(map[string]any)
	if !ok {
		return protocol.Errorf(protocol.CodeConfig, "labels: wants a section, which begins with [labels]").WithHint(configHint)
	}
	cfg.Labels = make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		text, isText := keys[key].(string)
		k, value, err := protocol.ParseLabel(key + "=" + text)
		if !isText || err != nil || k != key {
			return protocol.Errorf(protocol.CodeConfig, "labels.%s: got %s", protocol.SafeText(key), described(keys[key])).
				WithHint("a label looks like site = \"berlin\": %s", protocol.LabelRule)
		}
		cfg.Labels[key] = value
		cfg.Settings = append(cfg.Settings, labelSetting(key, value, donor.FromFile))
	}
	return nil
}

func labelSetting(key, value, origin string) api.Setting {
	return api.Setting{Key: "labels." + key, Value: value, Origin: origin}
}

// addLabels puts labels that flags say beside those of config.toml, or in their
// place.
func addLabels(cfg *node.Config, said labels) error {
	for _, key := range slices.Sorted(maps.Keys(said)) {
		if cfg.Labels == nil {
			cfg.Labels = make(map[string]string)
		}
		cfg.Labels[key] = said[key]
		cfg.Settings = slices.DeleteFunc(cfg.Settings, func(s api.Setting) bool { return s.Key == "labels."+key })
		cfg.Settings = append(cfg.Settings, labelSetting(key, said[key], donor.FromFlags))
	}
	if n := len(cfg.Labels); n > protocol.MaxLabels {
		return protocol.Errorf(protocol.CodeUsage, "--label and config.toml give the node %d labels, it can have %d", n, protocol.MaxLabels)
	}
	return nil
}
