//! A collector that is killed at any moment has lost nothing that it acknowledged.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{batch, boot, channel, node, open, record};

/// Folder of the store; present only in the child process.
const FOLDER_VARIABLE: &str = "TINYWATT_TEST_KILL_FOLDER";

/// First delivery id of the child, as an agent's spool has it after the last acknowledgement.
const FIRST_VARIABLE: &str = "TINYWATT_TEST_KILL_FIRST";

/// Acknowledgements after which each child is killed.
const KILLED_AFTER: [usize; 5] = [1, 17, 40, 3, 25];

/// The record with this delivery id: the channel's announcement, then its batches.
fn delivery(delivery_id: u64) -> v1::Record {
    match delivery_id {
        1 => record(1, boot(1), 0, Fact::ChannelOpened(channel(0))),
        _ => record(delivery_id, boot(1), delivery_id - 2, Fact::Batch(batch(0, delivery_id - 2))),
    }
}

/// The child: commits until it is killed and says what it acknowledged.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    let first: u64 = std::env::var(FIRST_VARIABLE).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&folder)).await;
        for start in (first..first + 1_000_000).step_by(5) {
            let committed = store.commit_records(node(), (start..start + 5).map(delivery).collect()).await.unwrap();
            println!("acknowledged {}", committed.delivery_id);
        }
    });
}

fn child(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_commits_until_it_is_killed", "--nocapture"])
        .env(FOLDER_VARIABLE, folder)
        .env(FIRST_VARIABLE, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_acknowledged_survives_any_number_of_kills_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for count in KILLED_AFTER {
        let mut child = child(folder.path(), acknowledged + 1);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledgements = lines.by_ref().filter_map(|line| {
            let (_, delivery_id) = line.split_once("acknowledged ")?;
            delivery_id.parse::<u64>().ok()
        });
        acknowledged = acknowledgements.by_ref().nth(count).expect("the child commits until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the last look and its end counts, too; the last line may be cut.
        acknowledged = acknowledgements.last().map_or(acknowledged, |last| last.max(acknowledged));

        let connection = rusqlite::Connection::open(folder.path().join("tinywatt.db")).unwrap();
        let integrity: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(integrity, "ok");
        let (stored, distinct, last): (u64, u64, u64) = connection
            .query_row("SELECT count(*), count(DISTINCT sequence), max(sequence) FROM batch", [], |row| {
                let number = |index| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(index)?).unwrap());
                Ok((number(0)?, number(1)?, number(2)?))
            })
            .unwrap();
        assert!(stored + 1 >= acknowledged, "{stored} batches stored, {acknowledged} records acknowledged");
        assert_eq!((stored, stored), (distinct, last + 1), "none doubled, none missing");
        let holes: u64 = connection
            .query_row("SELECT count(*) FROM gap", [], |row| row.get::<_, i64>(0))
            .map(|count| u64::try_from(count).unwrap())
            .unwrap();
        assert_eq!(holes, 0);
    }
}
