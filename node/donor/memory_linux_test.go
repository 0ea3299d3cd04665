package donor

import (
	"testing"
	"testing/fstest"
)

func TestMemoryIn(t *testing.T) {
	const machine = 8 << 30
	cases := []struct {
		name  string
		files map[string]string
		want  uint64 // 0: an error
	}{
		{"no cgroups", nil, machine},
		{"no meminfo", map[string]string{"proc/meminfo": ""}, 0},
		{"another meminfo", map[string]string{"proc/meminfo": "SwapTotal: 1 kB\n"}, 0},
		{"version 2, a limit", map[string]string{
			"proc/self/cgroup":                  "0::/user/app\n",
			"sys/fs/cgroup/user/memory.max":     "max\n",
			"sys/fs/cgroup/user/app/memory.max": "1073741824\n",
		}, 1 << 30},
		{"version 2, a lower limit above", map[string]string{
			"proc/self/cgroup":                  "0::/user/app\n",
			"sys/fs/cgroup/user/memory.max":     "536870912\n",
			"sys/fs/cgroup/user/app/memory.max": "1073741824\n",
		}, 1 << 29},
		{"version 2, in a container that sees only its own", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "1073741824\n",
		}, 1 << 30},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "max\n",
		}, machine},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/other\n4:memory:/app\n0::/\n",
			"sys/fs/cgroup/memory/app/memory.limit_in_bytes": "1073741824\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
		}, 1 << 30},
		{"version 1, in a container that sees its own at the root", map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/0123\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
		}, 1 << 30},
		{"a limit above the machine's memory", map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "99999999999999\n",
		}, machine},
		{"not a cgroup file", map[string]string{"proc/self/cgroup": "what\n:\n\n0::\n"}, machine},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:        8388608 kB\nMemFree: 1 kB\n")}}
			for name, text := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := memoryIn(root)
			if (err != nil) != (c.want == 0) || got != c.want {
				t.Errorf("got %d, %v, want %d", got, err, c.want)
			}
		})
	}
}
