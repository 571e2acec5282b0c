use std::path::Path;

use proptest::prelude::*;

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn batch(channel: u32, first: u64) -> Fact {
    Fact::Batch(v1::SampleBatch {
        channel,
        first_mono_ns: first,
        last_mono_ns: first + 1,
        reading_count: 2,
        columns: vec![7u8; 500].into(),
        ..v1::SampleBatch::default()
    })
}

fn marker(mono_ns: u64) -> Fact {
    Fact::Marker(v1::Marker { mono_ns, ..v1::Marker::default() })
}

fn open(dir: &Path) -> Spool {
    Spool::open(dir, &SpoolConfig::default()).expect("the spool opens")
}

/// What `kill -9` leaves: the files as the system sees them while the spool is open and busy.
fn copy_as_killed(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for name in ["spool.db", "spool.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).expect("a file of the spool");
    }
}

async fn all(spool: &Spool) -> Vec<v1::Record> {
    spool.read(0, usize::MAX).await.expect("readable").records
}

#[test]
fn what_was_appended_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let (live, killed) = (dir.path().join("live"), dir.path().join("killed"));
    runtime().block_on(async {
        let (boot, spool) = (BootId::random(), open(&live));
        for index in 0..300 {
            spool.append(boot, batch(0, index)).await.expect("stored");
        }
        spool.acknowledge(100).await.expect("deleted");
        copy_as_killed(&live, &killed);

        let again = open(&killed);
        let records = all(&again).await;
        let ids: Vec<_> = records.iter().map(|record| record.delivery_id).collect();
        assert_eq!(ids, (101..=300).collect::<Vec<_>>());
        assert!(records.iter().all(|record| record.sequence == record.delivery_id - 1));
        assert_eq!(again.append(boot, batch(0, 300)).await.expect("stored"), 301);
        assert_eq!(all(&again).await.last().expect("a record").sequence, 300, "the sequence goes on without a hole");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A power cut may take the end of the log. What is left is a beginning, never something else.
    #[test]
    fn a_log_cut_anywhere_leaves_a_beginning(cut in 0.0f64..1.0, count in 1u64..40) {
        let dir = tempfile::tempdir().expect("a folder");
        let (live, killed) = (dir.path().join("live"), dir.path().join("killed"));
        runtime().block_on(async {
            let spool = open(&live);
            let boot = BootId::random();
            for index in 0..count {
                spool.append(boot, batch(0, index)).await.expect("stored");
            }
            copy_as_killed(&live, &killed);
        });
        let log = std::fs::OpenOptions::new().write(true).open(killed.join("spool.db-wal")).expect("the log");
        let length = log.metadata().expect("its length").len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part")]
        log.set_len((length as f64 * cut) as u64).expect("cut");
        let config = SpoolConfig::default();
        // Cut before the schema was complete, the file is new; it is never an error.
        let spool = Spool::open(&killed, &config).expect("opens after a power cut");
        runtime().block_on(async {
            for (index, record) in all(&spool).await.iter().enumerate() {
                prop_assert_eq!(record.sequence, index as u64);
                prop_assert_eq!(record.fact.clone(), Some(batch(0, index as u64)));
            }
            Ok(())
        })?;
    }

    #[test]
    fn sequences_have_no_holes_and_order_is_kept(
        appends in prop::collection::vec((0usize..2, 0u32..4), 1..60), reopen_after in 0usize..60, acknowledged in 0u64..60,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let boots = [BootId::random(), BootId::random()];
        runtime().block_on(async {
            let mut spool = open(dir.path());
            let mut expected = Vec::new();
            let mut next = std::collections::HashMap::new();
            for (index, &(boot, channel)) in appends.iter().enumerate() {
                if index == reopen_after {
                    drop(spool);
                    spool = open(dir.path());
                }
                // Channel 3 stands for everything that is not a batch.
                let fact = if channel == 3 { marker(index as u64) } else { batch(channel, index as u64) };
                let id = spool.append(boots[boot], fact.clone()).await.expect("stored");
                let sequence: &mut u64 = next.entry((boot, channel)).or_default();
                expected.push(v1::Record {
                    delivery_id: id, boot_id: boots[boot].to_vec(), sequence: *sequence, fact: Some(fact),
                });
                *sequence += 1;
            }
            prop_assert!(expected.windows(2).all(|pair| pair[0].delivery_id < pair[1].delivery_id));
            spool.acknowledge(acknowledged).await.expect("deleted");
            expected.retain(|record| record.delivery_id > acknowledged);
            prop_assert_eq!(all(&spool).await, expected.clone());
            // In pages of any size it is the same.
            let mut after = 0;
            let mut paged = Vec::new();
            loop {
                let page = spool.read(after, 7).await.expect("readable").records;
                let Some(last) = page.last() else { break };
                after = last.delivery_id;
                paged.extend(page);
            }
            prop_assert_eq!(paged, expected);
            Ok(())
        })?;
    }
}

#[test]
fn the_records_that_wait_are_counted_across_boots_and_starts() {
    let dir = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let spool = open(dir.path());
        assert_eq!(spool.record_count().await.expect("readable"), 0);
        for (boot, index) in [BootId::random(), BootId::random()].into_iter().zip(0..) {
            spool.append_all(boot, vec![marker(index), batch(0, index), batch(1, index)]).await.expect("stored");
        }
        assert_eq!(spool.record_count().await.expect("readable"), 6);
        spool.acknowledge(2).await.expect("deleted");
        drop(spool);
        let spool = open(dir.path());
        assert_eq!(spool.record_count().await.expect("readable"), 4);
        spool.acknowledge(6).await.expect("deleted");
        assert_eq!(spool.record_count().await.expect("readable"), 0);
    });
}

#[test]
fn delivery_ids_grow_when_everything_was_deleted_and_the_spool_opened_again() {
    let dir = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let spool = open(dir.path());
        assert_eq!(spool.append(BootId::random(), marker(1)).await.expect("stored"), 1);
        spool.acknowledge(1).await.expect("deleted");
        drop(spool);
        let spool = open(dir.path());
        assert_eq!(*spool.last_delivery_id().borrow(), 1);
        assert_eq!(spool.append(BootId::random(), marker(1)).await.expect("stored"), 2);
    });
}

#[test]
fn at_its_limit_the_spool_refuses_batches_and_keeps_room_for_outcomes() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = SpoolConfig { size_bytes_max: SpoolConfig::SIZE_BYTES_MIN };
    runtime().block_on(async {
        let (boot, spool) = (BootId::random(), Spool::open(dir.path(), &config).expect("opens"));
        let mut stored = 0;
        let refused = loop {
            match spool.append(boot, batch(0, stored)).await {
                Ok(_) => stored += 1,
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
        assert!(refused.to_string().contains("spool.size_bytes_max"));
        assert!(stored > 1_000, "{stored} batches of 500 bytes fit into 7/8 MiB");
        let outcome = spool.append(boot, Fact::Outcome(v1::TrialOutcome::default())).await.expect("room is reserved");
        assert_eq!(outcome, stored + 1);
        let health =
            spool.append(boot, Fact::Health(v1::NodeHealth::default())).await.expect_err("no room is reserved");
        assert!(matches!(health, AppendError::Full { .. }), "{health}");

        spool.acknowledge(outcome).await.expect("deleted");
        spool.append(boot, batch(0, stored)).await.expect("there is room again");
        let record = all(&spool).await.pop().expect("a record");
        assert_eq!(record.sequence, stored, "what was refused took no number");
    });
}

#[test]
fn facts_of_one_append_are_all_stored_or_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = SpoolConfig { size_bytes_max: SpoolConfig::SIZE_BYTES_MIN };
    runtime().block_on(async {
        let (boot, spool) = (BootId::random(), Spool::open(dir.path(), &config).expect("opens"));
        let many = (0..4_000).map(|index| batch(0, index)).collect();
        assert!(matches!(spool.append_all(boot, many).await, Err(AppendError::Full { .. })));
        assert_eq!(all(&spool).await, []);
        let some = (0..40).map(|index| batch(0, index)).collect();
        assert_eq!(spool.append_all(boot, some).await.expect("fits"), 40);
    });
}

#[test]
fn many_tasks_may_append_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let (boot, spool) = (BootId::random(), open(dir.path()));
        let mut tasks = tokio::task::JoinSet::new();
        for channel in 0..100 {
            let spool = spool.clone();
            tasks.spawn(async move {
                for index in 0..5 {
                    spool.append(boot, batch(channel, index)).await.expect("stored");
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(all(&spool).await.len(), 500);
    });
}

#[test]
fn a_second_agent_is_told_who_holds_the_spool() {
    let dir = tempfile::tempdir().expect("a folder");
    let _first = open(dir.path());
    let error = Spool::open(dir.path(), &SpoolConfig::default()).expect_err("locked").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    assert!(error.contains("state_dir"), "{error}");
}

#[test]
fn a_file_where_the_folder_should_be_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spool");
    std::fs::write(&path, "").expect("written");
    let error = Spool::open(&path, &SpoolConfig::default()).expect_err("a file");
    assert!(matches!(error, OpenError::NotAFolder { .. }), "{error}");
    let inside = Spool::open(&path.join("deeper"), &SpoolConfig::default()).expect_err("below a file");
    assert!(matches!(inside, OpenError::MakeFolder { .. }), "{inside}");
}

#[test]
fn a_damaged_file_and_a_foreign_database_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("spool.db");
    std::fs::write(&file, vec![1u8; 8_192]).expect("written");
    let error = Spool::open(dir.path(), &SpoolConfig::default()).expect_err("no database");
    assert!(matches!(error, OpenError::Corrupt { source: Some(_), .. }), "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");

    std::fs::remove_file(&file).expect("removed");
    rusqlite::Connection::open(&file).expect("a database").execute_batch("CREATE TABLE a (b)").expect("a table");
    let foreign = std::fs::read(&file).expect("readable");
    let error = Spool::open(dir.path(), &SpoolConfig::default()).expect_err("no spool");
    assert!(matches!(error, OpenError::Corrupt { source: None, .. }), "{error}");
    assert!(std::fs::read(&file).expect("readable") == foreign, "another program's file is left alone");
}

#[test]
fn a_newer_file_asks_for_a_newer_agent() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path()));
    let file = rusqlite::Connection::open(dir.path().join("spool.db")).expect("a database");
    file.pragma_update(None, "user_version", 9).expect("written");
    drop(file);
    let error = Spool::open(dir.path(), &SpoolConfig::default()).expect_err("newer");
    assert!(matches!(error, OpenError::Version { version: 9, .. }), "{error}");
}
