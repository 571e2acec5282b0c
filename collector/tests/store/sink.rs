//! The sink at work on a store, to a server that plays a script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tinywatt_collector::influx::Token;
use tinywatt_collector::sink::config::TokenSource;
use tinywatt_collector::sink::line::Lines;
use tinywatt_collector::sink::points::samples::Detail;
use tinywatt_collector::sink::series::Bucket;
use tinywatt_collector::sink::server::{Server, Unreachable};
use tinywatt_collector::sink::verdict::Answer;
use tinywatt_collector::sink::{Sink, SinkConfig};
use tinywatt_collector::store::{RunRow, Store};
use tinywatt_proto::v1;

use crate::scenario::open;

/// What a server does with lines.
type Rule = Box<dyn Fn(&Lines) -> Result<Answer, Unreachable> + Send + Sync>;

struct Script(Rule);

impl Server for Script {
    fn write(&self, _: Bucket, lines: &Lines) -> Result<Answer, Unreachable> {
        (self.0)(lines)
    }
}

fn answer(status: u16, message: &str) -> Answer {
    Answer { status, retry_after: None, message: message.to_owned() }
}

fn config() -> SinkConfig {
    SinkConfig {
        url: "http://127.0.0.1:1".parse().unwrap(),
        org: "o".to_owned(),
        bucket: "b".to_owned(),
        samples_bucket: "s".to_owned(),
        token: TokenSource::Given(Token::new("t").unwrap()),
        detail: Detail { raw: true, decimated_period_ns: None },
        gzip: false,
        timeout: Duration::from_secs(1),
    }
}

async fn start_run(store: &Store) {
    let row = RunRow {
        run: "run-a".parse().unwrap(),
        experiment: "digits".to_owned(),
        submit: v1::SubmitRequest::default(),
        trials: Vec::new(),
        started_unix_ns: 10,
        state: v1::RunState::Running,
        ended_unix_ns: None,
    };
    store.create_run(row).await.unwrap();
}

async fn wait_until_level(store: &Store) {
    let is_level = async {
        while store.sink_position(&config().target()).await.unwrap().0 != store.newest_position().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_level).await.expect("everything is taken in the end");
}

#[tokio::test]
async fn a_point_that_is_written_anew_is_never_overtaken_by_what_it_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let (failures_left, kept) = (Mutex::new(4), Arc::clone(&taken));
    let server = Script(Box::new(move |lines| {
        let mut left = failures_left.lock().unwrap();
        if *left > 0 && lines.text().contains("running") {
            *left -= 1;
            return Err(Unreachable::new("http://x", "not now"));
        }
        kept.lock().unwrap().extend(lines.text().lines().map(str::to_owned));
        Ok(answer(204, ""))
    }));
    let sink = Sink::start_with(store.clone(), &config(), server).await.unwrap();
    start_run(&store).await;
    // The first portion is on its way, in vain, when the next one is read.
    tokio::time::sleep(Duration::from_millis(700)).await;
    store.end_run(&"run-a".parse().unwrap(), v1::RunState::Completed, 20).await.unwrap();
    wait_until_level(&store).await;
    sink.stop().await;
    let taken = taken.lock().unwrap();
    let states: Vec<bool> = taken.iter().map(|line| line.contains("state=\"completed\"")).collect();
    assert_eq!(states, [false, true], "{taken:?}");
}

#[tokio::test]
async fn what_begins_anew_waits_for_the_request_that_is_on_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let log: Arc<Mutex<Vec<&str>>> = Arc::default();
    let kept = Arc::clone(&log);
    let server = Script(Box::new(move |_| {
        kept.lock().unwrap().push("begins");
        std::thread::sleep(Duration::from_millis(800));
        kept.lock().unwrap().push("ends");
        Ok(answer(204, ""))
    }));
    let sink = Sink::start_with(store.clone(), &config(), server).await.unwrap();
    start_run(&store).await;
    while log.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sink.handle().rebuild().await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["begins", "ends"]);
    wait_until_level(&store).await;
    sink.stop().await;
    assert_eq!(*log.lock().unwrap(), ["begins", "ends", "begins", "ends"]);
}

#[tokio::test]
async fn lines_that_are_too_old_are_sent_once_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let request_count: Arc<Mutex<u32>> = Arc::default();
    let kept = Arc::clone(&request_count);
    let server = Script(Box::new(move |_| {
        *kept.lock().unwrap() += 1;
        Ok(answer(422, "partial write: dropped 1 points outside retention policy dropped=1"))
    }));
    let sink = Sink::start_with(store.clone(), &config(), server).await.unwrap();
    start_run(&store).await;
    wait_until_level(&store).await;
    let meter = sink.handle().meter();
    sink.stop().await;
    assert_eq!(*request_count.lock().unwrap(), 1);
    assert_eq!((meter.expired_count, meter.line_count, meter.quarantined_count), (1, 0, 0));
}
