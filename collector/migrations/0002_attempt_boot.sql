-- Why: a collector that is started again goes on waiting for what its agents execute. It must know which start of an
-- agent was told: another one cannot execute it any more. NULL in rows that were written before.

ALTER TABLE attempt ADD COLUMN boot_id BLOB CHECK (length(boot_id) = 16);
