use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tinywatt_proto::columns::decode;
use tinywatt_proto::sample::{Flags, Reading};

use super::*;
use crate::spool::SpoolConfig;

#[derive(Clone, Default)]
struct Ring(Arc<Mutex<VecDeque<Event>>>);

impl Source for Ring {
    fn drain(&mut self, consume: &mut impl FnMut(Event)) {
        self.0.lock().expect("not poisoned").drain(..).for_each(consume);
    }
}

impl Ring {
    fn push(&self, event: Event) {
        self.0.lock().expect("not poisoned").push_back(event);
    }
}

fn reading(index: u64) -> Event {
    let second = i64::try_from(index % 7).expect("small");
    Event::Reading(Reading { at: MonoNs((index + 1) * 1_000_000), first: 100, second, flags: Flags::NONE })
}

fn channel() -> v1::Channel {
    let scale = v1::channel::Scale::ShuntBus(v1::ShuntBusScale::default());
    v1::Channel { channel: 3, name: "rail".to_owned(), time_unit_ns: 1_000, scale: Some(scale), ..Default::default() }
}

async fn batches(spool: &Spool) -> Vec<v1::SampleBatch> {
    let records = spool.read(0, usize::MAX).await.expect("readable").records;
    assert!(matches!(records[0].fact, Some(Fact::ChannelOpened(_))), "the channel is announced first");
    let batch = |record: v1::Record| match record.fact {
        Some(Fact::Batch(batch)) => Some(batch),
        _ => None,
    };
    records.into_iter().filter_map(batch).collect()
}

fn lost(batches: &[v1::SampleBatch], reason: v1::LossReason) -> u64 {
    let all = batches.iter().flat_map(|batch| &batch.lost_readings);
    all.filter(|lost| lost.reason == i32::from(reason)).map(|lost| lost.count).sum()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_reading_and_every_loss_is_in_the_spool(
        parts in prop::collection::vec((1u64..300, 0u64..5), 1..12), big in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        run(async {
            let spool = Spool::open(dir.path(), &SpoolConfig::default()).expect("opens");
            let ring = Ring::default();
            let mut batcher = Batcher::new(ring.clone(), spool.clone(), BootId::random(), channel());
            let (spooled, totals) = (batcher.spooled(), batcher.totals());
            let (mut index, mut missing) = (0, 0);
            for (count, lost_count) in parts {
                let count = if big { count * 40 } else { count };
                (index..index + count).for_each(|index| ring.push(reading(index)));
                index += count;
                ring.push(Event::Lost { reason: v1::LossReason::BusError, count: lost_count });
                missing += lost_count;
                prop_assert!(!batcher.step().await.expect("the spool works"));
            }
            ring.push(reading(index));
            ring.push(Event::Ended);
            batcher.run(CancellationToken::new()).await.expect("ends by itself");

            let batches = batches(&spool).await;
            let readings: Vec<_> =
                batches.iter().flat_map(|batch| decode(batch, 1_000, true).expect("own encoding")).map(Event::Reading).collect();
            prop_assert_eq!(readings, (0..=index).map(reading).collect::<Vec<_>>());
            prop_assert_eq!(lost(&batches, v1::LossReason::BusError), missing);
            prop_assert_eq!(totals.borrow().lost_reading_count, missing);
            prop_assert_eq!(*spooled.borrow(), MonoNs((index + 1) * 1_000_000));
            Ok(())
        })?;
    }
}

#[test]
fn a_loss_travels_with_the_batch_of_the_reading_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    run(async {
        let spool = Spool::open(dir.path(), &SpoolConfig::default()).expect("opens");
        let ring = Ring::default();
        let mut batcher = Batcher::new(ring.clone(), spool.clone(), BootId::random(), channel());
        ring.push(reading(0));
        ring.push(Event::Lost { reason: v1::LossReason::BusError, count: 7 });
        batcher.step().await.expect("the spool works");
        ring.push(reading(8));
        batcher.step().await.expect("the spool works");
        let batches = batches(&spool).await;
        let counts: Vec<_> =
            batches.iter().map(|batch| lost(std::slice::from_ref(batch), v1::LossReason::BusError)).collect();
        assert_eq!(counts, [0, 7], "readings 1 to 7 are missing before the second batch, not before the first");
    });
}

#[test]
fn stopping_spools_the_last_partial_batch() {
    let dir = tempfile::tempdir().expect("a folder");
    run(async {
        let spool = Spool::open(dir.path(), &SpoolConfig::default()).expect("opens");
        let ring = Ring::default();
        let batcher = Batcher::new(ring.clone(), spool.clone(), BootId::random(), channel());
        ring.push(reading(0));
        let stop = CancellationToken::new();
        stop.cancel();
        batcher.run(stop).await.expect("stops");
        assert_eq!(batches(&spool).await.len(), 1);
    });
}

#[test]
fn a_full_spool_loses_readings_with_a_count() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = SpoolConfig { size_bytes_max: SpoolConfig::SIZE_BYTES_MIN };
    run(async {
        let (boot, ring) = (BootId::random(), Ring::default());
        let spool = Spool::open(dir.path(), &config).expect("opens");
        let mut batcher = Batcher::new(ring.clone(), spool.clone(), boot, channel());
        let (spooled, totals) = (batcher.spooled(), batcher.totals());
        ring.push(reading(0));
        batcher.step().await.expect("stored");
        let filler = v1::SampleBatch { channel: 9, columns: vec![0; 60_000].into(), ..Default::default() };
        while spool.append(boot, Fact::Batch(filler.clone())).await.is_ok() {}
        // A batch of 4,096 readings is larger than what the filler left.
        for part in 0..30 {
            (1 + part * 4_096..1 + (part + 1) * 4_096).for_each(|index| ring.push(reading(index)));
            ring.push(Event::Lost { reason: v1::LossReason::MissedDeadline, count: 1 });
            batcher.step().await.expect("counted");
        }
        let kept_while_full = batches(&spool).await.into_iter().filter(|batch| batch.channel == 3).collect::<Vec<_>>();
        let counted = lost(&kept_while_full, v1::LossReason::SpoolFull);
        let lost_reading_count = totals.borrow().lost_reading_count;
        let before = *spooled.borrow();
        let last = *spool.last_delivery_id().borrow();
        spool.acknowledge(last).await.expect("deleted");
        batcher.opened = false;
        ring.push(reading(500_000));
        batcher.step().await.expect("stored");
        let after = batches(&spool).await;
        let last = after.last().expect("a batch");
        let kept: u64 = kept_while_full.iter().map(|batch| u64::from(batch.reading_count)).sum();
        assert_eq!(kept + counted + lost(std::slice::from_ref(last), v1::LossReason::SpoolFull), 1 + 30 * 4_096);
        assert!(lost(std::slice::from_ref(last), v1::LossReason::SpoolFull) > 0, "the spool was full");
        assert_eq!(lost_reading_count, 1 + 30 * 4_096 - kept + 30, "told before a batch could carry it");
        let deadlines = lost(&kept_while_full, v1::LossReason::MissedDeadline);
        assert_eq!(deadlines + lost(std::slice::from_ref(last), v1::LossReason::MissedDeadline), 30);
        assert!(before < *spooled.borrow());
    });
}
