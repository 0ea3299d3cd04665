package donor

import (
	"strings"
	"testing"
	"testing/fstest"
)

// tree is a directory of small files, each "name=what it says".
func tree(facts ...string) fstest.MapFS {
	dir := make(fstest.MapFS)
	for _, f := range facts {
		name, value, _ := strings.Cut(f, "=")
		dir[name] = &fstest.MapFile{Data: []byte(value + "\n")}
	}
	return dir
}

func TestSensors(t *testing.T) {
	zone := func(n, temp string, trips ...string) (list []string) {
		dir := "thermal/thermal_zone" + n + "/"
		list = append(list, dir+"temp="+temp)
		for i, trip := range trips {
			kind, at, _ := strings.Cut(trip, " ")
			point := dir + "trip_point_" + string(rune('0'+i)) + "_"
			list = append(list, point+"type="+kind, point+"temp="+at)
		}
		return list
	}
	join := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for name, c := range map[string]struct {
		facts []string
		want  heat
	}{
		"nothing":                 {nil, heat{}},
		"a passive trip point":    {zone("0", "61500", "active 50000", "passive 85000", "critical 105000"), heat{61.5, 85}},
		"a hot one below it":      {zone("0", "61500", "passive 95000", "hot 90000"), heat{61.5, 90}},
		"fans alone":              {zone("0", "61500", "active 50000", "critical 105000"), heat{}},
		"the nearest of zones":    {join(zone("0", "40000", "passive 85000"), zone("1", "80000", "passive 95000")), heat{80, 95}},
		"a zone that is off":      {zone("0", "", "passive 85000"), heat{}},
		"nonsense of firmware":    {join(zone("0", "-274000", "passive 85000"), zone("1", "50000", "passive 0"), zone("2", "50000", "passive x")), heat{}},
		"a processor":             {[]string{"hwmon/hwmon1/name=coretemp", "hwmon/hwmon1/temp1_input=70000", "hwmon/hwmon1/temp1_max=100000", "hwmon/hwmon1/temp2_input=91000", "hwmon/hwmon1/temp2_max=100000"}, heat{91, 100}},
		"a processor without one": {[]string{"hwmon/hwmon1/name=k10temp", "hwmon/hwmon1/temp1_input=70000"}, heat{}},
		"a disk":                  {[]string{"hwmon/hwmon1/name=nvme", "hwmon/hwmon1/temp1_input=70000", "hwmon/hwmon1/temp1_max=80000"}, heat{}},
	} {
		if got := readSensors(tree(c.facts...)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if w := (heat{}).words(); !strings.Contains(w, "unknown") {
		t.Errorf("what is not known: %s", w)
	}
}
