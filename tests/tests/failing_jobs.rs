//! Jobs that go wrong in every way: each is a clear error, the run goes on with what can go on, and nothing is lost.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tinywatt_tests::{Agent, Collector};

/// Name of the job, its script, and what its error must say. `$1` is the job file.
const BROKEN: [(&str, &str, &[&str]); 7] = [
    ("silent", "exit 0", &["left no result.json"]),
    ("garbled", "echo nonsense > \"${1%/*}/result.json\"", &["result.json cannot be used"]),
    (
        "failing",
        "echo the data are upside down >&2; exit 3",
        &["was ended by exit status: 3", "the data are upside down"],
    ),
    ("killed", "kill -9 $$", &["SIGKILL"]),
    ("slow", "trap '' TERM; while :; do sleep 0.1; done", &["its time limit"]),
    (
        "greedy",
        "while :; do head -c 1000000 /dev/zero >> \"${1%/*}/rubbish\"; sleep 0.01; done",
        &["and it may hold 8388608 bytes"],
    ),
    ("liar", LIAR, &["model.tflite"]),
];

/// Names an artifact that it has not made.
const LIAR: &str = r#"printf '{"schema":"tinywatt.result.v1","framework":{"name":"sh","version":"1"},"artifacts":[{"role":"model","file":"model.tflite"}],"phases":[]}' > "${1%/*}/result.json""#;

/// Does what the contract asks for, with a model that was there before.
const GOOD: &str = r#"
cp MODEL "${1%/*}"/out*/model.tflite 2>/dev/null || cp MODEL "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["output_dir"])' "$1")/model.tflite"
sleep 1
printf '{"schema":"tinywatt.result.v1","framework":{"name":"sh","version":"1"},"artifacts":[{"role":"model","file":"model.tflite"}],"phases":[]}' > "${1%/*}/result.json.part"
mv "${1%/*}/result.json.part" "${1%/*}/result.json"
"#;

fn study(folder: &Path) -> Result<String> {
    // A busy machine may hold the sampler up, and then a good job is repeated, too.
    let mut text = String::from(
        "name = \"broken\"\nreplicates = 1\nattempts_max = 3\nnodes = [\"bench\"]\n[dataset]\nname = \"digits\"\n\
         [windows]\nidle = \"600ms\"\nactive = \"600ms\"\nwarm_up = 5\ncool_down = \"0s\"\n\
         [training]\nnode = \"bench\"\nidle = \"600ms\"\ntime_limit = \"3s\"\noutput_max = \"8 MiB\"\n\
         input_scale = 0.0625\ninput_offset = 0.0\n",
    );
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/data/digits/cnn-full-integer.tflite");
    let good = GOOD.replace("MODEL", &model.to_string_lossy());
    for (name, script) in BROKEN.iter().map(|&(name, script, _)| (name, script)).chain([("good", good.as_str())]) {
        let path = folder.join(format!("{name}.sh"));
        std::fs::write(&path, script)?;
        write!(
            text,
            "[[train]]\nname = \"{name}\"\ncommand = [\"sh\", \"{}\"]\narchitecture = \"digits-tiny\"\nepochs = 1\n\
             runtime = \"litert\"\n",
            path.display()
        )?;
    }
    let file = folder.join("study.toml");
    std::fs::write(&file, text)?;
    Ok(file.to_string_lossy().into_owned())
}

fn reasons(report: &Value, treatment: &str) -> String {
    let attempts = report["invalid_attempts"].as_array().into_iter().flatten();
    attempts.filter(|attempt| attempt["treatment"] == treatment).map(|attempt| attempt["reasons"].to_string()).collect()
}

#[test]
fn each_broken_job_is_told_and_the_run_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"))?;
    let _agent = Agent::start_for_jobs(&folder.path().join("bench"), "bench", &collector.address, 1)?;
    collector.wait_for_node("bench")?;
    let output = collector.command(&["schedule", &study(folder.path())?])?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "a run that is incomplete fails: {:?}\n{words}", output.status);
    let report = collector.report().context(words)?;
    for (name, _, expected) in BROKEN {
        let said = reasons(&report, &format!("{name}: train"));
        for part in expected {
            ensure!(said.contains(part), "{name}: '{part}' is not in {said}");
        }
    }
    let rows = report["rows"].as_array().context("rows")?;
    let good = rows.iter().find(|row| row["treatment"] == "good/float32").context("it was executed")?;
    ensure!(good["counts"]["replicate_count_valid"] == 1, "{good}");
    // The logs of the failed ones are kept.
    let kept = collector.text(&["artifacts", "latest"])?;
    ensure!(kept.contains("failing") && kept.contains("log"), "{kept}");
    Ok(())
}
