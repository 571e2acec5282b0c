//! `collector nodes`: who can measure what, and run what.

use std::process::ExitCode;

use tinywatt_proto::v1::{self, FigureKind};

use super::client::Client;
use super::{output, table};

/// Arguments of `collector nodes`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Prints the nodes.
///
/// # Errors
/// When the collector does not answer.
pub async fn run(_arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    let nodes = client.nodes().await?;
    if nodes.is_empty() {
        eprintln!("no node has registered yet; start `agent run` on one");
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&rows(&nodes))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(nodes: &[v1::NodeSummary]) -> String {
    let mut rows = table::table(&["node", "state", "channels", "runtimes", "machine", "clock", "agent"]);
    for node in nodes {
        let capabilities = node.capabilities.clone().unwrap_or_default();
        let channels: Vec<String> = capabilities.channels.iter().map(channel).collect();
        let runtimes: Vec<String> =
            capabilities.runtimes.iter().map(|runtime| format!("{} {}", runtime.name, runtime.version)).collect();
        let machine = capabilities.machine.unwrap_or_default();
        rows.add_row([
            node.node.clone(),
            state(node),
            channels.join("\n"),
            runtimes.join("\n"),
            format!("{} × {}", machine.cpu_count, machine.architecture),
            node.clock_error_ns.map_or_else(|| "not yet probed".to_owned(), clock_error),
            node.agent_version.clone(),
        ]);
    }
    table::text(&rows)
}

fn state(node: &v1::NodeSummary) -> String {
    match (&node.running, node.connected) {
        (None, false) => format!("away, last seen {}", table::instant(node.last_seen_unix_ns)),
        (Some(trial), false) => format!(
            "away, last seen {}\nwaited for: {} trial {} attempt {}\n(`collector cancel {}` gives it up)",
            table::instant(node.last_seen_unix_ns),
            trial.run_id,
            trial.trial,
            trial.attempt,
            trial.run_id
        ),
        (None, true) => "free".to_owned(),
        (Some(trial), true) => format!("{} trial {} attempt {}", trial.run_id, trial.trial, trial.attempt),
    }
}

fn channel(channel: &v1::Channel) -> String {
    let kind = match channel.kind() {
        FigureKind::Unspecified => "of unknown kind",
        FigureKind::Measured => "measured",
        FigureKind::MeasuredElsewhere => "measured elsewhere",
        FigureKind::Estimated => "estimated",
        FigureKind::Simulated => "simulated",
    };
    // Rounded to whole hertz: the nominal rate, not a measured one.
    let rate_hz = 1_000_000_000u64.checked_div(channel.sample_period_ns).unwrap_or_default();
    // Agents of before do not tell what a channel measures.
    let rail = if channel.rail.is_empty() { String::new() } else { format!(", {}", channel.rail) };
    format!("{}: {}, {rate_hz} Hz, {kind}{rail}", channel.name, channel.source)
}

fn clock_error(error_ns: u64) -> String {
    format!("± {} µs", error_ns.div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_a_node_can_do() {
        let channel = v1::Channel {
            name: "rail".to_owned(),
            source: "ina219-emulator".to_owned(),
            kind: FigureKind::Simulated.into(),
            sample_period_ns: 808_000,
            ..v1::Channel::default()
        };
        let package = v1::Channel {
            name: "cpu".to_owned(),
            source: "rapl".to_owned(),
            kind: FigureKind::Measured.into(),
            sample_period_ns: 20_000_000,
            rail: "machine/processors/package-0".to_owned(),
            ..v1::Channel::default()
        };
        let capabilities = v1::Capabilities {
            channels: vec![channel, package],
            runtimes: vec![v1::Runtime { name: "litert".to_owned(), version: "2.3.0".to_owned() }],
            machine: Some(v1::Machine { architecture: "aarch64".to_owned(), cpu_count: 4, ..v1::Machine::default() }),
            ..v1::Capabilities::default()
        };
        let mut node = v1::NodeSummary {
            node: "pi-4".to_owned(),
            connected: true,
            agent_version: "0.1.0".to_owned(),
            capabilities: Some(capabilities),
            clock_error_ns: Some(41_200),
            ..v1::NodeSummary::default()
        };
        let text = rows(std::slice::from_ref(&node));
        for part in [
            "pi-4",
            "free",
            "rail: ina219-emulator, 1237 Hz, simulated ",
            "cpu: rapl, 50 Hz, measured, machine/processors/package-0",
            "litert 2.3.0",
            "4 × aarch64",
            "± 42 µs",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        node.connected = false;
        node.clock_error_ns = None;
        node.last_seen_unix_ns = 1_700_000_000_000_000_000;
        let text = rows(std::slice::from_ref(&node));
        for part in ["away, last seen 2023-11-14 22:13:20Z", "not yet probed"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        node.running = Some(v1::TrialKey { run_id: "digits-k3f9".to_owned(), trial: 3, attempt: 1 });
        let text = rows(&[node]);
        for part in ["away, last seen", "waited for: digits-k3f9 trial 3 attempt 1", "`collector cancel digits-k3f9`"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
