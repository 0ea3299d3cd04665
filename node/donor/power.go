package donor

import (
	"io/fs"
	"path"
	"strings"
)

// power is what the machine runs on.
type power int

const (
	powerUnknown power = iota
	noBattery          // as far as the system tells
	onMains
	onBattery
)

func (p power) words() string {
	return [...]string{
		"what it runs on is unknown on this system", "it has no battery, as far as the system tells",
		"it runs on mains", "it runs on battery",
	}[p]
}

// readSupplies reads a directory as Linux keeps it in /sys/class/power_supply,
// see Documentation/ABI/testing/sysfs-class-power. Batteries of mice and headsets
// are there too, with the scope Device.
func readSupplies(dir fs.FS) power {
	supplies, err := fs.ReadDir(dir, ".")
	if err != nil {
		return powerUnknown
	}
	found := noBattery
	for _, s := range supplies {
		fact := func(name string) string {
			b, err := fs.ReadFile(dir, path.Join(s.Name(), name))
			if err != nil {
				return ""
			}
			return strings.TrimSpace(string(b))
		}
		switch kind := fact("type"); {
		case kind == "Battery" && fact("scope") != "Device":
			if found == noBattery {
				found = onMains
			}
			if fact("status") == "Discharging" {
				found = onBattery
			}
		case kind != "Battery" && fact("online") == "1" && fact("scope") != "Device":
			return onMains // also when the battery gives some of it
		}
	}
	return found
}
