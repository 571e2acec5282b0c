//! Two agents with one name: who is told, and how often.

use std::collections::HashMap;
use std::time::Duration;

use tinywatt_proto::ids::{BootId, NodeId, RunId};
use tinywatt_proto::time::MonoNs;

use super::Driver;

/// An agent may find its own dead connection in its way: the server notices within 20 s.
const DOUBT: Duration = Duration::from_secs(30);

/// A refused agent asks several times a minute; people need to hear of it now and then.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// Agents that were refused, by the name that they share with another.
#[derive(Debug, Default)]
pub(super) struct Rivals(HashMap<NodeId, Rival>);

#[derive(Debug)]
struct Rival {
    boot: BootId,
    since: MonoNs,
    told_at: Option<MonoNs>,
}

impl Rivals {
    /// Takes in a refusal; whether people are to be told. One agent a name is remembered, the last that was refused.
    fn refused(&mut self, at: MonoNs, node: &NodeId, boot: BootId, is_certain: bool) -> bool {
        let rival = self.0.entry(node.clone()).or_insert_with(|| Rival { boot, since: at, told_at: None });
        if rival.boot != boot {
            (rival.boot, rival.since) = (boot, at);
        }
        let is_sure = is_certain || rival.since.after(DOUBT) <= at;
        let is_due = is_sure && rival.told_at.is_none_or(|told_at| told_at.after(TELL_EVERY) <= at);
        if is_due {
            rival.told_at = Some(at);
        }
        is_due
    }
}

impl Driver {
    /// Tells those who watch a run on the node, and the log.
    pub(super) fn refused(&mut self, node: &NodeId, boot: BootId, is_certain: bool) {
        if !self.rivals.refused(self.uptime.now(), node, boot, is_certain) {
            return;
        }
        tracing::warn!(%node, "two agents have one name, one of them is refused: give it another `node`");
        let is_there = |run: &&RunId| self.runs[*run].trials.iter().any(|trial| trial.node == node.as_str());
        let runs: Vec<RunId> = self.runs.keys().filter(is_there).cloned().collect();
        for run in runs {
            if let Some(counts) = self.state.counts(&run) {
                let text = format!(
                    "two agents are called '{node}', and one of them is refused: give one another `node` in its \
                     agent.toml, and restart it"
                );
                self.announce(&run, text, counts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_is_told_when_it_is_certain_and_then_now_and_then() {
        let node: NodeId = "pi".parse().expect("a name");
        let [one, two] = [1, 2].map(|number| BootId::from_bytes(&[number; 16]).expect("16 bytes"));
        let mut rivals = Rivals::default();
        let mut refused = |seconds, boot, is_certain| {
            rivals.refused(MonoNs(0).after(Duration::from_secs(seconds)), &node, boot, is_certain)
        };
        assert!(!refused(0, one, false), "perhaps its own dead connection");
        assert!(!refused(29, one, false));
        assert!(!refused(30, two, false), "another one");
        assert!(!refused(59, two, false));
        assert!(refused(60, two, false));
        assert!(!refused(61, two, true), "told already");
        assert!(!refused(359, two, true));
        assert!(refused(360, one, true), "certain at once");
    }
}
