//go:build tools

// Package influxd pins the InfluxDB 2 server that the tests run against.
package influxd

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	_ "github.com/influxdata/pkg-config"
)
