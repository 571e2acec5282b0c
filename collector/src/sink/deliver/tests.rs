use std::sync::Mutex;

use super::*;
use crate::sink::line::Point;
use crate::sink::series::named;

/// A server that answers by a rule and remembers what it was sent.
struct Fake<F> {
    rule: F,
    sent: Mutex<Vec<usize>>,
}

impl<F> Server for Fake<F>
where
    F: Fn(usize, &Lines) -> Result<Answer, Unreachable> + Send + Sync + 'static,
{
    fn write(&self, _: Bucket, lines: &Lines) -> Result<Answer, Unreachable> {
        let mut sent = self.sent.lock().unwrap();
        sent.push(lines.count());
        (self.rule)(sent.len(), lines)
    }
}

fn answer(status: u16, message: &str) -> Result<Answer, Unreachable> {
    Ok(Answer { status, retry_after: None, message: message.to_owned() })
}

/// Lines that carry their numbers.
fn lines(count: u32) -> Lines {
    let mut lines = Lines::default();
    for number in 0..count {
        Point::new(named("loss")).field("reading_count", number).write(0, &mut lines);
    }
    lines
}

struct Scene<F> {
    deliverer: Deliverer<Fake<F>>,
    server: Arc<Fake<F>>,
    _folder: tempfile::TempDir,
}

impl<F> Scene<F>
where
    F: Fn(usize, &Lines) -> Result<Answer, Unreachable> + Send + Sync + 'static,
{
    fn new(rule: F) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let server = Arc::new(Fake { rule, sent: Mutex::default() });
        let (state, stop) = (Arc::new(State::new(0)), CancellationToken::new());
        let deliverer = Deliverer::new(Arc::clone(&server), store, "target".to_owned(), state, stop);
        Self { deliverer, server, _folder: folder }
    }

    async fn deliver(&self, count: u32) -> Result<(), DeliverError> {
        self.deliverer.deliver(Request { bucket: Bucket::Results, lines: lines(count) }).await
    }

    fn sent(&self) -> Vec<usize> {
        self.server.sent.lock().unwrap().clone()
    }

    async fn quarantined(&self) -> Vec<Quarantined> {
        self.deliverer.store.quarantined("target", 1_000).await.unwrap()
    }
}

#[tokio::test]
async fn one_bad_line_of_a_thousand_is_found_in_twenty_requests() {
    let scene = Scene::new(|_, lines| {
        let is_bad = lines.text().contains("=777i");
        if is_bad { answer(400, "unable to parse") } else { answer(204, "") }
    });
    scene.deliver(1_000).await.unwrap();
    let refused = scene.quarantined().await;
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].line.as_str(), refused[0].line_count), ("loss reading_count=777i 0", 1));
    assert_eq!(refused[0].reason, "unable to parse");
    assert!(scene.sent().len() <= 21, "{:?}", scene.sent());
    assert_eq!(scene.deliverer.state.meter().line_count, 999);
    assert_eq!(scene.deliverer.state.meter().quarantined_count, 1);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_doubted_before_the_lines_are() {
    let scene = Scene::new(|_, _| answer(400, "what is this?"));
    let held = async {
        while !matches!(scene.deliverer.state.doing(), Doing::Held { .. }) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        delivered = scene.deliver(1_000) => panic!("it is to wait: {delivered:?}"),
        () = held => {}
    }
    assert_eq!(scene.quarantined().await.len(), REFUSED_COUNT_MAX);
    let Doing::Held { reason } = scene.deliverer.state.doing() else { panic!("held") };
    assert!(reason.contains("line after line") && reason.contains("what is this?"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_be_left_alone_is_granted_and_without_one_waits_are_short_and_grow() {
    let asked = Answer { status: 429, retry_after: Some(Duration::from_secs(100)), message: String::new() };
    let scene = Scene::new(move |turn, _| if turn == 1 { Ok(asked.clone()) } else { answer(204, "") });
    let start = tokio::time::Instant::now();
    scene.deliver(3).await.unwrap();
    let waited = start.elapsed();
    assert!((Duration::from_secs(100)..Duration::from_secs(102)).contains(&waited), "{waited:?}");
    assert_eq!(scene.deliverer.state.meter().retry_count, 1);

    let scene = Scene::new(|turn, _| match turn {
        1..=6 => Err(Unreachable::new("http://x", "refused")),
        _ => answer(204, ""),
    });
    let start = tokio::time::Instant::now();
    scene.deliver(3).await.unwrap();
    // Limits of 0.25, 0.5, 1, 2, 4 and 8 s, each wait between a half and a whole one.
    assert!((Duration::from_secs(7)..Duration::from_secs(17)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(scene.deliverer.state.doing(), Doing::Writing);
}

#[tokio::test]
async fn requests_that_are_too_large_are_halved_and_later_ones_begin_small() {
    let scene = Scene::new(|_, lines| if lines.count() > 100 { answer(413, "") } else { answer(204, "") });
    scene.deliver(1_000).await.unwrap();
    assert_eq!(scene.deliverer.state.meter().line_count, 1_000);
    let before = scene.sent().len();
    scene.deliver(1_000).await.unwrap();
    assert!(scene.sent()[before..].iter().all(|count| *count <= 125), "{:?}", scene.sent());
    assert!(scene.quarantined().await.is_empty());
}

#[tokio::test]
async fn dropped_lines_are_named_when_they_are_few_and_counted_when_they_are_old() {
    let scene = Scene::new(|_, lines| {
        let is_bad = lines.text().contains("=7i");
        if is_bad { answer(422, "field type conflict dropped=1") } else { answer(204, "") }
    });
    scene.deliver(100).await.unwrap();
    let refused = scene.quarantined().await;
    assert_eq!((refused.len(), refused[0].line.as_str()), (1, "loss reading_count=7i 0"));

    let scene = Scene::new(|_, _| answer(422, "dropped 3 points outside retention policy dropped=3"));
    scene.deliver(100).await.unwrap();
    assert!(scene.quarantined().await.is_empty(), "age is no fault of a line");
    assert_eq!(scene.sent(), [100]);
    let meter = scene.deliverer.state.meter();
    assert_eq!((meter.expired_count, meter.line_count, meter.quarantined_count), (3, 97, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_one_connection_hears_is_granted_by_all() {
    let asked = Answer { status: 429, retry_after: Some(Duration::from_secs(100)), message: String::new() };
    let scene = Scene::new(move |turn, _| if turn == 1 { Ok(asked.clone()) } else { answer(204, "") });
    let start = tokio::time::Instant::now();
    let second = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.deliver(1).await.unwrap();
        start.elapsed()
    };
    let (first, waited) = tokio::join!(scene.deliver(3), second);
    first.unwrap();
    assert!(waited >= Duration::from_secs(100), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_every_wait() {
    let scene = Scene::new(|_, _| answer(401, "unauthorized"));
    let stop = scene.deliverer.stop.clone();
    let (delivered, ()) = tokio::join!(scene.deliver(1), async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
    });
    assert!(matches!(delivered, Err(DeliverError::Stopped)));
    assert!(matches!(scene.deliverer.state.doing(), Doing::Held { reason } if reason.contains("influx init")));
}
