-- Why: how agents fare is a time series like their samples, on the same time axis. It is kept here, so that whoever draws it
-- can be filled anew.

CREATE TABLE agent_health (
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    mono_ns INTEGER NOT NULL CHECK (mono_ns >= 0),
    -- tinywatt.v1.NodeHealth
    health BLOB NOT NULL,
    PRIMARY KEY (boot_key, sequence)
) STRICT, WITHOUT ROWID;
