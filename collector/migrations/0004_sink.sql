-- Why: what the store holds is written on to a database for dashboards, which may be away, empty or wiped. So the store
-- knows in which order its rows came and changed, how far each such database has them, and which of their lines it
-- refused; and the state of nodes and of the collector itself is kept like everything else that is written on.

-- What came or changed, in the order of the commits. Batches are not here: their own keys ascend in that order.
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

-- How nodes and the collector are, every few seconds. The oldest are removed.
CREATE TABLE health (
    health_key INTEGER PRIMARY KEY,
    at_unix_ns INTEGER NOT NULL CHECK (at_unix_ns >= 0),
    health TEXT NOT NULL CHECK (json_valid(health))
) STRICT;
CREATE INDEX health_by_time ON health (at_unix_ns);

-- The time axis of a boot in such databases: Unix time = monotonic time + offset. One offset for ever, so that whatever
-- is written again lies where it lay, and no interval is stretched.
CREATE TABLE axis (
    boot_key INTEGER PRIMARY KEY REFERENCES boot (boot_key),
    -- Its clock probes; of a recording the attempt that played it; without either its arrival.
    basis TEXT NOT NULL CHECK (basis IN ('probe', 'attempt', 'arrival')),
    offset_ns INTEGER NOT NULL
) STRICT;

-- How far a database has what is in the store.
CREATE TABLE sink (
    -- Its address, organisation and buckets.
    target TEXT PRIMARY KEY,
    -- It has every batch and every change up to these keys.
    batch_key INTEGER NOT NULL CHECK (batch_key >= 0),
    change_key INTEGER NOT NULL CHECK (change_key >= 0),
    quarantined_count INTEGER NOT NULL DEFAULT 0 CHECK (quarantined_count >= 0)
) STRICT;

-- Lines that a database refused for good, with its reason. The newest; `sink.quarantined_count` counts them all.
CREATE TABLE quarantine (
    quarantine_key INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    at_unix_ns INTEGER NOT NULL CHECK (at_unix_ns >= 0),
    reason TEXT NOT NULL,
    -- Empty where the database did not say which of the lines it dropped.
    line TEXT NOT NULL,
    line_count INTEGER NOT NULL CHECK (line_count > 0)
) STRICT;

INSERT INTO change (fact, run) SELECT 'run', run FROM run ORDER BY started_unix_ns, run;
INSERT INTO change (fact, attempt_key) SELECT 'attempt', attempt_key FROM attempt WHERE result IS NOT NULL ORDER BY attempt_key;
INSERT INTO change (fact, boot_key, sequence) SELECT 'marker', boot_key, sequence FROM marker;
INSERT INTO change (fact, boot_key, sequence) SELECT 'clock_probe', boot_key, sequence FROM clock_probe;
INSERT INTO change (fact, boot_key, sequence) SELECT 'agent_health', boot_key, sequence FROM agent_health;

CREATE TRIGGER run_started AFTER INSERT ON run
BEGIN
    INSERT INTO change (fact, run) VALUES ('run', NEW.run);
END;

CREATE TRIGGER run_ended AFTER UPDATE OF state ON run WHEN OLD.state IS NOT NEW.state
BEGIN
    INSERT INTO change (fact, run) VALUES ('run', NEW.run);
END;

CREATE TRIGGER attempt_assessed AFTER UPDATE OF result ON attempt WHEN OLD.result IS NULL AND NEW.result IS NOT NULL
BEGIN
    INSERT INTO change (fact, attempt_key) VALUES ('attempt', NEW.attempt_key);
END;

CREATE TRIGGER marker_stored AFTER INSERT ON marker
BEGIN
    INSERT INTO change (fact, boot_key, sequence) VALUES ('marker', NEW.boot_key, NEW.sequence);
END;

CREATE TRIGGER clock_probe_stored AFTER INSERT ON clock_probe
BEGIN
    INSERT INTO change (fact, boot_key, sequence) VALUES ('clock_probe', NEW.boot_key, NEW.sequence);
END;

CREATE TRIGGER agent_health_stored AFTER INSERT ON agent_health
BEGIN
    INSERT INTO change (fact, boot_key, sequence) VALUES ('agent_health', NEW.boot_key, NEW.sequence);
END;

CREATE TRIGGER health_stored AFTER INSERT ON health
BEGIN
    INSERT INTO change (fact, health_key) VALUES ('health', NEW.health_key);
END;
