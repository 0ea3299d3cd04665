package donor

import "os"

func readHeat() heat { return readSensors(os.DirFS("/sys/class")) }
