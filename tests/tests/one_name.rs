//! Two agents with one name, as after copying a card: refused at first sight, and when they take turns.

use std::time::Duration;

use anyhow::Result;
use tinywatt_tests::{Agent, Collector, Process, wait_for};

fn wait_for_words(process: &Process, words: &str) -> Result<()> {
    // The server gives up a silent connection after 20 s, and an agent asks again within 15 s.
    wait_for(words, Duration::from_secs(90), || process.words().contains(words).then_some(()))
}

#[test]
fn two_agents_of_one_name_cannot_take_turns() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("store"))?;
    let first = Agent::start(&folder.path().join("first"), "bench", &collector.address, 5)?;
    collector.wait_for_node("bench")?;
    let second = Agent::start(&folder.path().join("second"), "bench", &collector.address, 6)?;
    wait_for_words(&second.process, "already connected from another agent")?;
    assert!(!second.process.words().contains("connected to the collector"));

    // The first is frozen until its connection is given up, and the second is let in.
    first.process.signal("STOP")?;
    wait_for_words(&second.process, "connected to the collector")?;
    drop(second);
    first.process.signal("CONT")?;
    wait_for_words(&first.process, "two agents have one name")?;
    wait_for_words(&collector.process, "two agents have one name")
}
