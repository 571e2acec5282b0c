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
use tinywatt_collector::store::RunRow;
use tinywatt_proto::v1;

use crate::scenario::open;

/// Fails the first requests that hold a word, and remembers what it took.
struct Script {
    word: &'static str,
    failures_left: Mutex<u32>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Server for Script {
    fn write(&self, _: Bucket, lines: &Lines) -> Result<Answer, Unreachable> {
        let mut left = self.failures_left.lock().unwrap();
        if *left > 0 && lines.text().contains(self.word) {
            *left -= 1;
            return Err(Unreachable::new("http://x", "not now"));
        }
        self.taken.lock().unwrap().extend(lines.text().lines().map(str::to_owned));
        Ok(Answer { status: 204, retry_after: None, message: String::new() })
    }
}

#[tokio::test]
async fn a_point_that_is_written_anew_is_never_overtaken_by_what_it_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let config = SinkConfig {
        url: "http://127.0.0.1:1".parse().unwrap(),
        org: "o".to_owned(),
        bucket: "b".to_owned(),
        samples_bucket: "s".to_owned(),
        token: TokenSource::Given(Token::new("t").unwrap()),
        detail: Detail { raw: true, decimated_period_ns: None },
        gzip: false,
        timeout: Duration::from_secs(1),
    };
    let taken = Arc::new(Mutex::new(Vec::new()));
    let server = Script { word: "running", failures_left: Mutex::new(4), taken: Arc::clone(&taken) };
    let sink = Sink::start_with(store.clone(), &config, server).await.unwrap();
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
    // The first portion is on its way, in vain, when the next one is read.
    tokio::time::sleep(Duration::from_millis(700)).await;
    store.end_run(&"run-a".parse().unwrap(), v1::RunState::Completed, 20).await.unwrap();
    let is_level = async {
        while store.sink_position(&config.target()).await.unwrap().0 != store.newest_position().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_level).await.expect("everything is taken in the end");
    sink.stop().await;
    let taken = taken.lock().unwrap();
    let states: Vec<bool> = taken.iter().map(|line| line.contains("state=\"completed\"")).collect();
    assert_eq!(states, [false, true], "{taken:?}");
}
