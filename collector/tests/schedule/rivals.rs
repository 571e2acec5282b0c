//! Two agents with one name, as after copying a card.

use std::time::Duration;

use tinywatt_proto::v1;
use tinywatt_proto::v1::node_service_client::NodeServiceClient;
use tonic::Code;

use super::agent::{Act, Agent};
use super::collector::{Collector, assess_by_word, submission};
use super::{PATIENT, always, until};

#[tokio::test]
async fn two_agents_of_one_name_cannot_take_turns_and_whoever_watches_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let first = Agent::start(collector.address.subscribe(), "p", always(Act::Hold));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a"], 1)).await;
    until("the first executes", || first.assigned().len() == 1).await;
    let request = v1::WatchRequest { run_id: run.to_string() };
    let mut changes = collector.control().await.watch(request).await.unwrap().into_inner();
    changes.message().await.unwrap().expect("the state");

    // The second comes while the first has no link, and cannot be told from its restart.
    first.send_away();
    let second = Agent::start(collector.address.subscribe(), "p", always(Act::Hold));
    until("the second executes", || second.assigned().len() == 1).await;
    let broken = collector.attempts(&run).await[0].result.clone().expect("judged").invalid_reasons;
    assert_eq!(broken[0].code, "agent_restarted");
    assert!(broken[0].message.contains("or another agent took its name"), "{}", broken[0].message);
    // The first has finished meanwhile and wants its place back. That two agents have one name is certain now, and told
    // before a doubt would be.
    first.release();
    first.call_back();
    let mut told = Vec::new();
    let telling = async {
        while !told.iter().any(|event: &String| event.contains("two agents are called 'p'")) {
            told.push(changes.message().await.unwrap().expect("the run goes on").event);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), telling).await.expect("whoever watches is told");
    let address = *collector.address.borrow();
    let mut nodes = NodeServiceClient::connect(format!("http://{address}")).await.unwrap();
    let again = v1::RegisterRequest { node: "p".to_owned(), boot_id: first.boot().to_vec(), ..Default::default() };
    for is_away in [false, true] {
        if is_away {
            second.send_away();
            let is_away = |change: &v1::WatchResponse| change.event.contains("is away, its trial 0 goes on");
            collector.watch_until(&run, is_away).await;
        }
        let refusal = nodes.register(again.clone()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::AlreadyExists);
        assert!(refusal.message().contains("give one of them another `node`, and restart"), "{}", refusal.message());
    }

    // The second's attempt has not suffered, and it is its samples that count.
    second.call_back();
    collector.await_nodes(&["p"]).await;
    second.release();
    assert_eq!(collector.await_end(&run).await.state(), v1::RunState::Completed);
    assert_eq!(collector.broken(&run).await, ["0.1 agent_restarted"]);
    let attempts = collector.attempts(&run).await;
    assert_eq!((attempts.len(), attempts[1].boot), (2, Some(second.boot())));
    let measured = attempts[1].result.as_ref().and_then(|result| result.measurement.as_ref()).expect("valid");
    assert_eq!(measured.samples_boot_id, second.boot().to_string());
    assert_eq!((first.assigned().len(), second.assigned().len()), (1, 1));
}
