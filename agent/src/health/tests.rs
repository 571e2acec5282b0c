use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::time::timeout;

use super::*;
use crate::clock::{Monotonic, Virtual};
use crate::spool::SpoolConfig;
use crate::throttle::Throttling;

/// Far longer than anything here takes; only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Health of an agent with two channels, what they lost, and what is executing.
struct Scene<C> {
    health: Health<C>,
    totals: [watch::Sender<Totals>; 2],
    executing: watch::Sender<Option<v1::Progress>>,
}

fn scene<C: Clock>(dir: &Path, clock: C, config: &SpoolConfig, firmware: Firmware) -> Scene<C> {
    let totals = [(); 2].map(|()| watch::Sender::new(Totals::default()));
    let executing = watch::Sender::new(None);
    let health = Health {
        boot: BootId::random(),
        clock,
        spool: Spool::open(&dir.join("spool"), config).expect("opens"),
        state_dir: dir.to_owned(),
        totals: totals.iter().map(watch::Sender::subscribe).collect(),
        executing: executing.subscribe(),
        firmware,
    };
    Scene { health, totals, executing }
}

async fn records(spool: &Spool) -> Vec<v1::Record> {
    spool.read(0, usize::MAX).await.expect("readable").records
}

async fn looks(spool: &Spool) -> Vec<v1::NodeHealth> {
    let health = |record: v1::Record| match record.fact {
        Some(Fact::Health(health)) => Some(health),
        _ => None,
    };
    records(spool).await.into_iter().filter_map(health).collect()
}

/// Works until a while of CPU time is used.
fn work(duration: Duration) {
    let start = process_cpu();
    while process_cpu() < start + duration {
        std::hint::spin_loop();
    }
}

#[test]
fn looks_are_plausible_and_stand_in_the_order_of_the_other_records() {
    let dir = tempfile::tempdir().expect("a folder");
    run(async {
        let Scene { health, totals, .. } = scene(dir.path(), Monotonic, &SpoolConfig::default(), Firmware::default());
        let marker = |mono_ns| Fact::Marker(v1::Marker { mono_ns, ..v1::Marker::default() });
        let used = Duration::from_millis(20);
        health.tell().await.expect("the spool works");
        health.spool.append(health.boot, marker(7)).await.expect("stored");
        totals[0].send_modify(|totals| totals.lose(3));
        totals[1].send_modify(|totals| totals.lose(4));
        work(used);
        health.tell().await.expect("the spool works");

        let records = records(&health.spool).await;
        let sequences: Vec<_> = records.iter().map(|record| record.sequence).collect();
        assert_eq!(sequences, [0, 1, 2], "one stream with the marker");
        let looks = looks(&health.spool).await;
        let [first, second] = &looks[..] else { panic!("two looks, not {looks:?}") };
        assert_eq!((first.spool_record_count, second.spool_record_count), (0, 2));
        assert_eq!((first.lost_reading_count, second.lost_reading_count), (0, 7));
        assert!(first.agent_cpu_ns > 0 && second.agent_cpu_ns >= first.agent_cpu_ns + nanoseconds(used), "{looks:?}");
        assert!(first.mono_ns < second.mono_ns && second.mono_ns <= Monotonic.now().0);
        for look in looks {
            let (resident, available) = (look.agent_memory_bytes, look.memory_available_bytes.expect("Linux"));
            assert!(resident > 1 << 20 && available > 1 << 20 && look.disk_free_bytes.is_some(), "{look:?}");
        }
    });
}

#[test]
fn the_first_look_is_taken_at_the_start_and_a_stop_ends_them() {
    let dir = tempfile::tempdir().expect("a folder");
    run(async {
        let scene = scene(dir.path(), Monotonic, &SpoolConfig::default(), Firmware::default());
        let (spool, stop) = (scene.health.spool.clone(), CancellationToken::new());
        let mut last = spool.last_delivery_id();
        let running = tokio::spawn(scene.health.run(stop.clone()));
        timeout(PERIOD, last.wait_for(|last| *last > 0))
            .await
            .expect("before the second look")
            .expect("the spool works");
        stop.cancel();
        timeout(LIMIT, running).await.expect("it ends").expect("no panic").expect("the spool works");
        assert_eq!(looks(&spool).await.len(), 1);
    });
}

#[test]
fn a_full_spool_leaves_looks_out_and_no_hole() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = SpoolConfig { size_bytes_max: SpoolConfig::SIZE_BYTES_MIN };
    run(async {
        let Scene { health, .. } = scene(dir.path(), Monotonic, &config, Firmware::default());
        let filler = v1::SampleBatch { columns: vec![0; 10_000].into(), ..v1::SampleBatch::default() };
        while health.spool.append(health.boot, Fact::Batch(filler.clone())).await.is_ok() {}
        let last = || *health.spool.last_delivery_id().borrow();
        // The looks that fit where a batch did not, and one that does not fit.
        let mut stored = 0;
        loop {
            let before = last();
            health.tell().await.expect("a full spool is no error");
            if last() == before {
                break;
            }
            stored += 1;
        }
        assert_eq!(looks(&health.spool).await.len(), stored);
        health.spool.acknowledge(last()).await.expect("deleted");
        health.tell().await.expect("stored");
        let record = records(&health.spool).await.pop().expect("a record");
        assert_eq!(record.sequence, stored as u64, "what was left out took no number");
    });
}

#[test]
fn the_firmware_is_not_asked_while_a_trial_executes() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let dir = tempfile::tempdir().expect("a folder");
    let firmware = Firmware::new(|| Throttling::Bits(0x5_0000 + ASKED.fetch_add(1, Relaxed)));
    run(async {
        let clock = Virtual::default();
        let Scene { health, executing, .. } = scene(dir.path(), clock.clone(), &SpoolConfig::default(), firmware);
        let mut bits = Vec::new();
        for is_executing in [true, false, false, true, false] {
            executing.send_replace(is_executing.then(v1::Progress::default));
            bits.push(health.look().await.expect("the spool works").throttled_bits);
            clock.advance(FIRMWARE_PERIOD / 2);
            if is_executing {
                clock.advance(FIRMWARE_PERIOD);
            }
        }
        let (first, second) = (Some(0x5_0000), Some(0x5_0001));
        assert_eq!(bits, [None, first, first, first, second]);
    });
}
