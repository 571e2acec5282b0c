// Fills `sample_10s` from `sample` or, where that is not sent, from `sample_decimated`. Written by `collector influx init`,
// which writes it anew when a newer version wants another one.
//
// Each run takes the last 20 minutes and, because data may come late, two older pieces: one of the twelve half hours before
// that, each of which has its turn every two hours, and one of the {{HOURS_BACK}} hours that have just gone by. Only whole
// stretches of 10 s are made, from all that is there, so that a repeat changes nothing.
import "date"
import "influxdata/influxdb"

option task = {name: {{TASK}}, every: 10m}

minute = 60000000000
hour = 60 * minute
end = int(v: date.truncate(t: now(), unit: 10s))
turn = end / (10 * minute)

points = (from_ns, to_ns) => {
    // A function, so that each of its uses is planned alone and the storage engine aggregates: over 9 million readings 1 s
    // instead of 132 s.
    readings = () =>
        from(bucket: {{SAMPLES_BUCKET}})
            |> range(start: time(v: from_ns), stop: time(v: to_ns))

    field = (measurement, field, fn, part) =>
        readings()
            |> filter(fn: (r) => r._measurement == measurement and r._field == field)
            |> aggregateWindow(every: 10s, fn: fn, createEmpty: false)
            |> keep(columns: ["_time", "_value", "node", "channel", "kind"])
            |> set(key: "part", value: part)

    // A group's mean counts as often as the group has readings.
    groups =
        readings()
            |> filter(fn: (r) => r._measurement == "sample_decimated")
            |> filter(fn: (r) => r._field == "watts_mean" or r._field == "reading_count")
            |> toFloat()
            |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
            |> filter(fn: (r) => exists r.watts_mean and exists r.reading_count)
            |> map(fn: (r) => ({r with product: r.watts_mean * r.reading_count}))

    sums = (column, part) =>
        groups
            |> aggregateWindow(every: 10s, column: column, fn: sum, createEmpty: false)
            |> duplicate(column: column, as: "_value")
            |> keep(columns: ["_time", "_value", "node", "channel", "kind"])
            |> set(key: "part", value: part)

    return
        union(
            tables: [
                field(measurement: "sample", field: "watts", fn: mean, part: "mean"),
                field(measurement: "sample", field: "watts", fn: min, part: "min"),
                field(measurement: "sample", field: "watts", fn: max, part: "max"),
                sums(column: "product", part: "group_product"),
                sums(column: "reading_count", part: "group_reading_count"),
                field(measurement: "sample_decimated", field: "watts_min", fn: min, part: "group_min"),
                field(measurement: "sample_decimated", field: "watts_max", fn: max, part: "group_max"),
            ],
        )
            |> group(columns: ["node", "channel", "kind"])
            |> pivot(rowKey: ["_time"], columnKey: ["part"], valueColumn: "_value")
            |> map(
                fn: (r) =>
                    ({
                        _time: r._time,
                        _measurement: "sample_10s",
                        node: r.node,
                        channel: r.channel,
                        kind: r.kind,
                        watts_mean: if exists r.mean then r.mean else r.group_product / r.group_reading_count,
                        watts_min: if exists r.mean then r.min else r.group_min,
                        watts_max: if exists r.mean then r.max else r.group_max,
                    }),
            )
}

near = end - 20 * minute - turn % 12 * 30 * minute
far = end - turn % {{HOURS_BACK}} * hour

union(
    tables: [
        points(from_ns: end - 20 * minute, to_ns: end),
        points(from_ns: near - 30 * minute, to_ns: near),
        points(from_ns: far - hour, to_ns: far),
    ],
)
    // Not `to`, which writes tags in the order of the columns, and here that is not always the same: InfluxDB would keep
    // one series as two.
    |> group(columns: ["_measurement", "node", "channel", "kind"])
    |> influxdb.wideTo(bucket: {{BUCKET}})
