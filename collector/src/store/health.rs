//! How the nodes and the collector are, kept like everything else that is written on.

use std::time::Duration;

use rusqlite::params;
use tinywatt_proto::time::nanoseconds;

use super::{Store, Urgency, WriteError, sql};

/// How long it is kept. What was written on stays where it was written to.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    /// Keeps how the nodes and the collector are, as JSON, and removes what is older than a week.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn keep_health(&self, at_unix_ns: u64, health: String) -> Result<(), WriteError> {
        self.parts
            .writer
            .write(Urgency::CanWait, move |session| {
                let connection = &session.connection;
                connection
                    .prepare_cached("DELETE FROM health WHERE at_unix_ns < ?1")?
                    .execute([sql::integer(at_unix_ns.saturating_sub(nanoseconds(KEPT)))])?;
                connection
                    .prepare_cached("INSERT INTO health (at_unix_ns, health) VALUES (?1, ?2)")?
                    .execute(params![sql::integer(at_unix_ns), health])
                    .map(|_| ())
            })
            .await
    }
}
