CREATE TABLE agent_health (
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    mono_ns INTEGER NOT NULL CHECK (mono_ns >= 0),
    -- tinywatt.v1.NodeHealth
    health BLOB NOT NULL,
    PRIMARY KEY (boot_key, sequence)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER agent_health_stored AFTER INSERT ON agent_health
BEGIN
    INSERT INTO change (fact, boot_key, sequence) VALUES ('agent_health', NEW.boot_key, NEW.sequence);
END;

CREATE TABLE attempt (
    attempt_key INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES run (run),
    trial INTEGER NOT NULL CHECK (trial >= 0),
    attempt INTEGER NOT NULL CHECK (attempt > 0),
    node TEXT NOT NULL,
    started_unix_ns INTEGER NOT NULL CHECK (started_unix_ns >= 0),
    -- A trial's result; NULL until it is assessed, and never changed after.
    result TEXT CHECK (json_valid(result)), boot_id BLOB CHECK (length(boot_id) = 16),
    UNIQUE (run, trial, attempt)
) STRICT;

CREATE TRIGGER attempt_assessed AFTER UPDATE OF result ON attempt WHEN OLD.result IS NULL AND NEW.result IS NOT NULL
BEGIN
    INSERT INTO change (fact, attempt_key) VALUES ('attempt', NEW.attempt_key);
END;

CREATE TABLE axis (
    boot_key INTEGER PRIMARY KEY REFERENCES boot (boot_key),
    -- Its clock probes; of a recording the attempt that played it; without either its arrival.
    basis TEXT NOT NULL CHECK (basis IN ('probe', 'attempt', 'arrival')),
    offset_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE batch (
    batch_key INTEGER PRIMARY KEY,
    stream_key INTEGER NOT NULL REFERENCES stream (stream_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    first_mono_ns INTEGER NOT NULL CHECK (first_mono_ns >= 0),
    last_mono_ns INTEGER NOT NULL CHECK (last_mono_ns >= first_mono_ns),
    reading_count INTEGER NOT NULL CHECK (reading_count > 0),
    -- tinywatt.v1.SampleBatch with nothing but lost_readings; NULL when none were lost.
    lost BLOB,
    -- tinywatt.v1.Columns, as it arrived, and its checksum, which also tells of a damaged disk.
    columns BLOB NOT NULL,
    columns_crc32 INTEGER NOT NULL CHECK (columns_crc32 BETWEEN 0 AND 4294967295)
) STRICT;

CREATE UNIQUE INDEX batch_by_sequence ON batch (stream_key, sequence);

CREATE UNIQUE INDEX batch_by_time ON batch (stream_key, first_mono_ns);

CREATE TABLE boot (
    boot_key INTEGER PRIMARY KEY,
    node_key INTEGER NOT NULL REFERENCES node (node_key),
    boot_id BLOB NOT NULL CHECK (length(boot_id) = 16),
    UNIQUE (node_key, boot_id)
) STRICT;

CREATE TABLE change (
    change_key INTEGER PRIMARY KEY,
    fact TEXT NOT NULL CHECK (fact IN ('run', 'attempt', 'marker', 'clock_probe', 'agent_health', 'health')),
    run TEXT,
    attempt_key INTEGER,
    boot_key INTEGER,
    sequence INTEGER,
    health_key INTEGER,
    CHECK (fact <> 'run' OR run IS NOT NULL),
    CHECK (fact <> 'attempt' OR attempt_key IS NOT NULL),
    CHECK (fact NOT IN ('marker', 'clock_probe', 'agent_health') OR (boot_key IS NOT NULL AND sequence IS NOT NULL)),
    CHECK (fact <> 'health' OR health_key IS NOT NULL)
) STRICT;

CREATE TABLE channel (
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    channel INTEGER NOT NULL CHECK (channel >= 0),
    -- tinywatt.v1.Channel
    description BLOB NOT NULL,
    PRIMARY KEY (boot_key, channel)
) STRICT, WITHOUT ROWID;

CREATE TABLE clock_probe (
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    sent_mono_ns INTEGER NOT NULL CHECK (sent_mono_ns >= 0),
    received_unix_ns INTEGER NOT NULL CHECK (received_unix_ns >= 0),
    answered_unix_ns INTEGER NOT NULL CHECK (answered_unix_ns >= received_unix_ns),
    returned_mono_ns INTEGER NOT NULL CHECK (returned_mono_ns >= sent_mono_ns),
    PRIMARY KEY (boot_key, sequence)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER clock_probe_stored AFTER INSERT ON clock_probe
BEGIN
    INSERT INTO change (fact, boot_key, sequence) VALUES ('clock_probe', NEW.boot_key, NEW.sequence);
END;

CREATE TABLE gap (
    stream_key INTEGER NOT NULL REFERENCES stream (stream_key),
    expected_sequence INTEGER NOT NULL CHECK (expected_sequence >= 0),
    found_sequence INTEGER NOT NULL CHECK (found_sequence > expected_sequence),
    cause TEXT NOT NULL CHECK (cause IN ('missing', 'rejected')),
    PRIMARY KEY (stream_key, expected_sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE health (
    health_key INTEGER PRIMARY KEY,
    at_unix_ns INTEGER NOT NULL CHECK (at_unix_ns >= 0),
    health TEXT NOT NULL CHECK (json_valid(health))
) STRICT;

CREATE INDEX health_by_time ON health (at_unix_ns);

CREATE TRIGGER health_stored AFTER INSERT ON health
BEGIN
    INSERT INTO change (fact, health_key) VALUES ('health', NEW.health_key);
END;

CREATE TABLE marker (
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    run TEXT NOT NULL,
    trial INTEGER NOT NULL CHECK (trial >= 0),
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    mono_ns INTEGER NOT NULL CHECK (mono_ns >= 0),
    -- tinywatt.v1.Phase and tinywatt.v1.Edge
    phase INTEGER NOT NULL CHECK (phase > 0),
    edge INTEGER NOT NULL CHECK (edge > 0),
    PRIMARY KEY (boot_key, sequence)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER marker_stored AFTER INSERT ON marker
BEGIN
    INSERT INTO change (fact, boot_key, sequence) VALUES ('marker', NEW.boot_key, NEW.sequence);
END;

CREATE TABLE node (
    node_key INTEGER PRIMARY KEY,
    node TEXT NOT NULL UNIQUE CHECK (length(node) BETWEEN 1 AND 64),
    agent_version TEXT NOT NULL,
    -- tinywatt.v1.Capabilities
    capabilities BLOB NOT NULL,
    -- The boot id of the last registration.
    boot_id BLOB NOT NULL CHECK (length(boot_id) = 16),
    last_seen_unix_ns INTEGER NOT NULL CHECK (last_seen_unix_ns >= 0),
    record_count INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    duplicate_count INTEGER NOT NULL DEFAULT 0 CHECK (duplicate_count >= 0),
    rejected_count INTEGER NOT NULL DEFAULT 0 CHECK (rejected_count >= 0)
) STRICT;

CREATE TABLE outcome (
    outcome_key INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    trial INTEGER NOT NULL CHECK (trial >= 0),
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    -- tinywatt.v1.TrialOutcome
    outcome BLOB NOT NULL,
    UNIQUE (run, trial, attempt)
) STRICT;

CREATE TABLE quarantine (
    quarantine_key INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL CHECK (at_unix_ns >= 0),
    reason TEXT NOT NULL,
    -- Empty where the database did not say which of the lines it dropped.
    line TEXT NOT NULL,
    line_count INTEGER NOT NULL CHECK (line_count > 0)
) STRICT;

CREATE TABLE rejected (
    rejected_key INTEGER PRIMARY KEY,
    node_key INTEGER NOT NULL REFERENCES node (node_key),
    delivery_id INTEGER NOT NULL CHECK (delivery_id >= 0),
    reason TEXT NOT NULL,
    -- Size of the record; `record` holds no more than its beginning when it is larger than the limit.
    record_bytes INTEGER NOT NULL CHECK (record_bytes >= length(record)),
    -- tinywatt.v1.Record
    record BLOB NOT NULL
) STRICT;

CREATE INDEX rejected_by_node ON rejected (node_key);

CREATE TABLE run (
    run TEXT PRIMARY KEY,
    experiment TEXT NOT NULL,
    -- tinywatt.v1.SubmitRequest
    submission BLOB NOT NULL,
    -- tinywatt.v1.SubmitResponse with nothing but trials
    trials BLOB NOT NULL,
    -- tinywatt.v1.RunState; 1 is running.
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    started_unix_ns INTEGER NOT NULL CHECK (started_unix_ns >= 0),
    ended_unix_ns INTEGER CHECK (ended_unix_ns >= 0),
    CHECK ((state = 1) = (ended_unix_ns IS NULL))
) STRICT;

CREATE TRIGGER run_ended AFTER UPDATE OF state ON run WHEN OLD.state IS NOT NEW.state
BEGIN
    INSERT INTO change (fact, run) VALUES ('run', NEW.run);
END;

CREATE TRIGGER run_started AFTER INSERT ON run
BEGIN
    INSERT INTO change (fact, run) VALUES ('run', NEW.run);
END;

CREATE TABLE sink (
    -- Its address, organisation and buckets.
    target TEXT PRIMARY KEY,
    -- It has every batch and every change up to these keys.
    batch_key INTEGER NOT NULL CHECK (batch_key >= 0),
    change_key INTEGER NOT NULL CHECK (change_key >= 0),
    quarantined_count INTEGER NOT NULL DEFAULT 0 CHECK (quarantined_count >= 0)
) STRICT;

CREATE TABLE stream (
    stream_key INTEGER PRIMARY KEY,
    boot_key INTEGER NOT NULL REFERENCES boot (boot_key),
    -- Channel of a stream of batches; -1 for the stream of all other records of the boot.
    channel INTEGER NOT NULL CHECK (channel >= -1),
    next_sequence INTEGER NOT NULL CHECK (next_sequence >= 0),
    UNIQUE (boot_key, channel)
) STRICT;
