//! How agents fare, kept for whoever draws it.

use prost::Message as _;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{boot, clock_probe, health, node, open, record};

#[tokio::test]
async fn a_look_is_kept_as_it_was_told_once_and_leaves_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bare = v1::NodeHealth { throttled_bits: None, temperature_millicelsius: None, ..health(20) };
    let records = [
        record(1, boot(1), 0, Fact::Health(health(10))),
        record(2, boot(1), 1, Fact::ClockProbe(clock_probe(15))),
        record(3, boot(1), 2, Fact::Health(bare)),
    ];
    for _ in 0..2 {
        let committed = store.commit_records(node(), records.to_vec()).await.unwrap();
        assert_eq!((committed.delivery_id, committed.rejected.len()), (3, 0));
    }
    let counts = store.node_counts(&node()).await.unwrap().unwrap();
    assert_eq!((counts.record_count, counts.duplicate_count, counts.missing_count), (3, 3, 0));
    drop(store);

    let connection = rusqlite::Connection::open(folder.path().join("tinywatt.db")).unwrap();
    let mut statement =
        connection.prepare("SELECT sequence, mono_ns, health FROM agent_health ORDER BY boot_key, sequence").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?))).unwrap();
    let rows: Vec<(i64, i64, v1::NodeHealth)> = rows
        .map(Result::unwrap)
        .map(|(sequence, mono_ns, bytes)| (sequence, mono_ns, v1::NodeHealth::decode(&bytes[..]).unwrap()))
        .collect();
    assert_eq!(rows, [(0, 10, health(10)), (2, 20, bare)]);
}
