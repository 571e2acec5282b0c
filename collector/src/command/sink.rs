//! `collector sink`: what is written on to a database.

use std::process::ExitCode;

use tinywatt_proto::v1;

use super::client::Client;
use super::{output, table};

/// Arguments of `collector sink`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write everything in the store again, from the oldest: fills an empty bucket, and changes nothing in a full one
    Rebuild,
    /// List the lines that the database refused, newest first, each with its reason
    Quarantine {
        /// Most lines to list
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        count: u32,
    },
}

/// Does as told.
///
/// # Errors
/// When the collector does not answer, or writes to no database.
pub async fn run(arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    match arguments.verb {
        Verb::Rebuild => {
            let answer = client.control.rebuild_sink(v1::RebuildSinkRequest {}).await;
            let target = answer.map_err(|status| client.failed("rebuilding", &status))?.into_inner().target;
            eprintln!("everything is written again to {target}; `collector status` tells how far it is");
        }
        Verb::Quarantine { count } => {
            let answer = client.control.list_quarantined(v1::ListQuarantinedRequest { count_max: count }).await;
            let lines = answer.map_err(|status| client.failed("listing", &status))?.into_inner().lines;
            if lines.is_empty() {
                eprintln!("the database refused no line");
            }
            output::print(&text(&lines))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(lines: &[v1::QuarantinedLine]) -> String {
    let one = |refused: &v1::QuarantinedLine| {
        let at = table::instant(refused.at_unix_ns);
        let line = match (refused.line.as_str(), refused.line_count) {
            ("", count) => format!("({count} lines; the database did not say which)"),
            (line, _) => line.to_owned(),
        };
        format!("{at} {}\n    {line}\n", refused.reason)
    };
    lines.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_line_stands_under_its_reason() {
        let refused = |line: &str, line_count| v1::QuarantinedLine {
            at_unix_ns: 1_700_000_000_000_000_000,
            reason: "field type conflict".to_owned(),
            line: line.to_owned(),
            line_count,
        };
        assert_eq!(
            text(&[refused("sample watts=1i 5", 1), refused("", 7)]),
            "2023-11-14 22:13:20Z field type conflict\n    sample watts=1i 5\n\
             2023-11-14 22:13:20Z field type conflict\n    (7 lines; the database did not say which)\n"
        );
    }
}
