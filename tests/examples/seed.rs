//! Prints made-up points of every series in line protocol: `seed results`, `seed samples`.

use std::io::Write as _;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let bucket = std::env::args().nth(1).context("say which: results or samples")?;
    let lines = tinywatt_tests::seed::lines()?;
    let lines = lines.get(&bucket).with_context(|| format!("{bucket} is neither results nor samples"))?;
    writeln!(std::io::stdout().lock(), "{}", lines.join("\n"))?;
    Ok(())
}
