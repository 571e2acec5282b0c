//! Brings a database to the layout this program knows. Forward only.

use rusqlite::Connection;

/// One step; its number is its place in [`MIGRATIONS`], from 1, and SQLite's `user_version` once it is applied.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_store.sql"),
    include_str!("../../migrations/0002_attempt_boot.sql"),
    include_str!("../../migrations/0003_agent_health.sql"),
    include_str!("../../migrations/0004_sink.sql"),
];

/// `application_id` of our files: "twst" in ASCII. Tells them from any other program's SQLite file.
pub(super) const APPLICATION_ID: i64 = 0x7477_7374;

/// Layout this program reads and writes.
pub(super) fn version_known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("a handful")
}

/// Layout of the file; `None` for a file that is not ours. An empty file has layout 0.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let is_empty: bool =
        connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    Ok(match (application, is_empty) {
        (APPLICATION_ID, _) => Some(version),
        (0, true) if version == 0 => Some(0),
        _ => None,
    })
}

/// Applies what the file lacks, each step in a transaction of its own.
pub(super) fn apply(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    for (migration, number) in MIGRATIONS.iter().zip(1..).filter(|(_, number)| *number > version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The snapshot is for people: a diff of it shows what a migration did. Write it anew with `TINYWATT_BLESS=1`.
    #[test]
    fn all_migrations_on_an_empty_file_give_the_schema_of_the_snapshot() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply(&mut connection, 0).unwrap();
        let mut statement =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let schema = rows.join(";\n\n") + ";\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/schema.snapshot.sql");
        if std::env::var_os("TINYWATT_BLESS").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        assert_eq!(schema, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn attempts_of_the_first_layout_are_kept_and_name_no_start_of_an_agent() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO run VALUES ('r', 'e', x'', x'', 1, 1, NULL);
                 INSERT INTO attempt (run, trial, attempt, node, started_unix_ns) VALUES ('r', 0, 1, 'p', 7)",
            )
            .unwrap();
        apply(&mut connection, 1).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Vec<u8>>>(1)?));
        let row = connection.query_row("SELECT started_unix_ns, boot_id FROM attempt", [], row).unwrap();
        assert_eq!(row, (7, None));
        assert_eq!(version(&connection).unwrap(), Some(version_known()));
    }

    #[test]
    fn what_came_before_changes_were_noted_is_noted_in_its_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..3].iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        connection
            .execute_batch(
                "INSERT INTO run VALUES ('b', 'e', x'', x'', 1, 2, NULL), ('a', 'e', x'', x'', 2, 1, 3);
                 INSERT INTO attempt (run, trial, attempt, node, started_unix_ns, result)
                     VALUES ('a', 0, 1, 'p', 7, '{}'), ('a', 0, 2, 'p', 8, NULL);
                 INSERT INTO node VALUES (1, 'p', '', x'', zeroblob(16), 1, 0, 0, 0);
                 INSERT INTO boot VALUES (1, 1, zeroblob(16));
                 INSERT INTO marker VALUES (1, 4, 'a', 0, 1, 5, 5, 1);
                 INSERT INTO clock_probe VALUES (1, 3, 1, 2, 2, 3);
                 INSERT INTO agent_health VALUES (1, 5, 6, x'')",
            )
            .unwrap();
        apply(&mut connection, 3).unwrap();
        // What comes from now on is noted by the triggers; a second result of an attempt is none.
        connection
            .execute_batch(
                "UPDATE attempt SET result = '{}' WHERE attempt = 2;
                 UPDATE attempt SET result = coalesce(result, '[]');
                 UPDATE run SET state = 2, ended_unix_ns = 9 WHERE run = 'b';
                 UPDATE run SET ended_unix_ns = 9 WHERE run = 'b';
                 INSERT INTO health (at_unix_ns, health) VALUES (1, '{}')",
            )
            .unwrap();
        let mut statement = connection
            .prepare(
                "SELECT fact || coalesce(run, '') || coalesce(attempt_key, '') || coalesce(sequence, '') FROM change",
            )
            .unwrap();
        let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let before = ["runa", "runb", "attempt1", "marker4", "clock_probe3", "agent_health5"];
        let after = ["attempt2", "runb", "health"];
        assert_eq!(rows, [before.as_slice(), after.as_slice()].concat());
    }

    #[test]
    fn every_migration_says_why_and_every_table_is_strict() {
        for migration in MIGRATIONS {
            assert!(migration.starts_with("-- Why: "));
            assert_eq!(migration.matches("CREATE TABLE").count(), migration.matches(") STRICT").count());
        }
    }
}
