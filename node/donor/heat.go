package donor

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// heat is how hot the part of the machine is that is nearest to where it has to
// slow down, and where that is, in degrees Celsius. The zero value is unknown.
type heat struct{ now, limit float64 }

func (h heat) known() bool { return h.limit > 0 }

func (h heat) words() string {
	if !h.known() {
		return "how hot it is, is unknown on this system"
	}
	return fmt.Sprintf("it is %.0f °C hot, the limit is %.0f °C", h.now, h.limit)
}

const (
	// coolBy is how far below its limit the machine has cooled down, in degrees,
	// and coolFor how long it rests at least: it cools within seconds of its guests'
	// end, and would be hot again as soon after they are back.
	coolBy  = 5
	coolFor = time.Minute
)

// thermo turns readings into a state with hysteresis.
type thermo struct {
	hot   bool
	since time.Time // when it was too hot last
}

// note takes a reading, and returns whether the machine is to rest.
func (t *thermo) note(now time.Time, h heat) bool {
	switch {
	case !h.known():
		t.hot = false
	case h.now >= h.limit:
		t.hot, t.since = true, now
	case h.now <= h.limit-coolBy && now.Sub(t.since) >= coolFor:
		t.hot = false
	}
	return t.hot
}

// readSensors reads a directory as Linux keeps it in /sys/class: the thermal
// zones with a trip point at which the kernel slows the machine down (passive) or
// warns (hot), see Documentation/driver-api/thermal/sysfs-api.rst, and the sensors
// of processors, see Documentation/hwmon/sysfs-interface.rst. Trip points that
// start a fan are for that.
func readSensors(class fs.FS) (nearest heat) {
	degrees := func(elements ...string) (float64, bool) {
		n, err := strconv.ParseInt(fact(class, elements...), 10, 32)
		// What firmware tells may be nonsense.
		return float64(n) / 1000, err == nil && n > -60_000 && n < 200_000
	}
	consider := func(now, limit float64) {
		if limit >= 40 && (!nearest.known() || limit-now < nearest.limit-nearest.now) {
			nearest = heat{now, limit}
		}
	}
	for _, zone := range names(class, "thermal", "thermal_zone") {
		now, ok := degrees("thermal", zone, "temp")
		for i := 0; ok; i++ {
			trip := fmt.Sprintf("trip_point_%d_", i)
			kind := fact(class, "thermal", zone, trip+"type")
			if kind == "" {
				break
			}
			if limit, ok := degrees("thermal", zone, trip+"temp"); ok && (kind == "passive" || kind == "hot") {
				consider(now, limit)
			}
		}
	}
	processors := []string{"coretemp", "k10temp", "zenpower", "cpu_thermal"}
	for _, chip := range names(class, "hwmon", "hwmon") {
		if !slices.Contains(processors, fact(class, "hwmon", chip, "name")) {
			continue
		}
		for _, file := range names(class, path.Join("hwmon", chip), "temp") {
			sensor, ok := strings.CutSuffix(file, "_input")
			if !ok {
				continue
			}
			now, read := degrees("hwmon", chip, file)
			if limit, ok := degrees("hwmon", chip, sensor+"_max"); ok && read {
				consider(now, limit)
			}
		}
	}
	return nearest
}

// names are those in a directory that begin so.
func names(root fs.FS, dir, prefix string) (list []string) {
	entries, err := fs.ReadDir(root, dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			list = append(list, e.Name())
		}
	}
	return list
}

// fact is what a small file says, or "".
func fact(root fs.FS, elements ...string) string {
	b, err := fs.ReadFile(root, path.Join(elements...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
