//! What is trained: one table of problems for the file alone, one for the nodes, and what a whole study becomes.
//!
//! After a wanted change: `TINYWATT_BLESS=1 cargo test -p tinywatt-collector study`, then read the difference.

use std::fmt::Write as _;
use std::fs;

use tempfile::TempDir;
use tinywatt_proto::ids::BootId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::job_input::Source;
use tinywatt_proto::v1::treatment::Workload;

use super::*;
use crate::schedule;
use crate::store::NodeRow;

const STUDY: &str = r#"name = "study"
nodes = ["pi-4"]
[dataset]
name = "digits"
[training]
node = "host"
[[train]]
name = "keras"
trainer = "keras"
architecture = "digits-tiny"
epochs = 2
"#;

/// The problems of a text, as people see them, one per line.
fn problems(text: &str) -> String {
    let folder = TempDir::new().expect("temporary folder");
    fs::write(folder.path().join("cut.json"), "{\"layers\":").expect("writable");
    fs::write(folder.path().join("list.json"), "{\"layers\": []}").expect("writable");
    let wide = r#"{"name": "wide", "input": [8, 9, 1], "class_count": 3, "layers": []}"#;
    fs::write(folder.path().join("wide.json"), wide).expect("writable");
    let problems = Experiment::parse(text, &folder.path().join("e.toml")).map(|_| ()).expect_err("a problem");
    problems.to_string().replace(&format!("{}/", folder.path().display()), "")
}

/// Changes one part of the study and expects the problems.
#[track_caller]
fn check(part: &str, replacement: &str, expected: &str) {
    assert!(STUDY.contains(part), "{part} is not in the study");
    assert_eq!(problems(&STUDY.replacen(part, replacement, 1)), expected);
}

/// Adds lines to the study's only entry, the twelfth and on, and expects the problems.
#[track_caller]
fn check_more(more: &str, expected: &str) {
    assert_eq!(problems(&format!("{STUDY}{more}\n")), expected);
}

fn prepared(text: &str) -> Prepared {
    let experiment = Experiment::parse(text, Path::new("e.toml")).expect("nothing is wrong with it");
    experiment.prepare(&nodes()).expect("such nodes can do it")
}

fn nodes() -> [v1::NodeSummary; 2] {
    [node("pi-4", &["litert", "torchscript"]), node("host", &["job"])]
}

fn node(name: &str, runtimes: &[&str]) -> v1::NodeSummary {
    let runtime = |name: &&str| v1::Runtime { name: (*name).to_owned(), version: "1".to_owned() };
    let machine = v1::Machine { cpu_count: 4, ..v1::Machine::default() };
    v1::NodeSummary {
        node: name.to_owned(),
        connected: true,
        capabilities: Some(v1::Capabilities {
            channels: vec![channel("rail")],
            runtimes: runtimes.iter().map(runtime).collect(),
            machine: Some(machine),
            ..v1::Capabilities::default()
        }),
        ..v1::NodeSummary::default()
    }
}

fn channel(name: &str) -> v1::Channel {
    v1::Channel {
        name: name.to_owned(),
        kind: v1::FigureKind::Measured.into(),
        sample_period_ns: 1_000_000,
        ..v1::Channel::default()
    }
}

#[test]
fn a_technique_must_be_the_frameworks() {
    let keras = "known: float32, dynamic-range, full-integer, float16, int16x8, pruned, clustered, qat";
    check_more(
        "techniques = [\"float32\",\n\"static-fbgemm\"]",
        &format!("e.toml:13: train.techniques: 'static-fbgemm' is not a technique of keras; {keras}"),
    );
    check(
        "trainer = \"keras\"",
        "techniques = [\"qat\"]\ntrainer = \"torch\"",
        "e.toml:9: train.techniques: 'qat' is not a technique of torch; known: float32, static-fbgemm, static-qnnpack, \
         dynamic, pruned, executorch-int8",
    );
    check(
        "trainer = \"keras\"",
        "techniques = [\"dynamic\"]\ntrainer = \"tch\"",
        "e.toml:9: train.techniques: 'dynamic' is not a technique of tch, which trains and does not optimise; known: \
         float32",
    );
    check(
        "trainer = \"keras\"",
        "techniques = [\"sparse\"]\ncommand = [\"mine\"]",
        "e.toml:9: train.techniques: 'sparse' needs a command that makes it; add optimise_command, or use float32 alone",
    );
    check_more("techniques = [\"qat\", \"qat\"]", "e.toml:12: train.techniques: 'qat' is named twice");
}

#[test]
fn a_trainer_is_one_of_ours_or_a_command() {
    check(
        "trainer = \"keras\"",
        "trainer = \"mxnet\"",
        "e.toml:9: train.trainer: 'mxnet' is not a trainer; known: keras, torch, tch, or name a command of your own with \
         command = [\"…\"]",
    );
    check(
        "trainer = \"keras\"\n",
        "",
        "e.toml:7: train.trainer: is missing; known: keras, torch, tch, or name a command of your own with command = \
         [\"…\"]",
    );
    check_more("command = [\"x\"]", "e.toml:9: train.trainer: is there beside a command; leave one of them out");
    check_more("framework = \"x\"", "e.toml:12: train.framework: is decided by trainer = \"keras\"; leave it out");
    check(
        "trainer = \"keras\"",
        "command = []",
        "e.toml:9: train.command: names no program; write it like [\"/opt/trainer/run\", \"--fast\"]",
    );
    check(
        "trainer = \"keras\"",
        "command = [\"./run\"]",
        "e.toml:9: train.command: './run' is relative, and a job runs in a folder of its own; give its full path on the \
         training node, or a name that is found there beside the agent or in PATH",
    );
    check(
        "trainer = \"keras\"",
        "command = [\"run\"]\nruntime = \"onnx\"",
        "e.toml:10: train.runtime: 'onnx' does not run models; known: litert, torchscript, executorch",
    );
}

#[test]
fn an_architecture_must_be_known_and_fit() {
    let known = format!("known: {}", crate::trainers::PACKAGE.architectures().collect::<Vec<_>>().join(", "));
    check(
        "\"digits-tiny\"",
        "\"alexnet\"",
        &format!(
            "e.toml:10: train.architecture: 'alexnet' is not shipped; {known}; your own goes into a file, named by \
             architecture_file"
        ),
    );
    check(
        "architecture = \"digits-tiny\"\n",
        "",
        "e.toml:7: train.architecture: is missing; name one that is shipped, or a file of yours with architecture_file",
    );
    check(
        "\"digits-tiny\"",
        "\"resnet8\"",
        "e.toml:10: train.architecture: architecture 'resnet8' takes inputs of 32×32×3, and those of 'digits' are 8×8×1; \
         use another architecture or data set",
    );
    check_more(
        "architecture_file = \"wide.json\"",
        "e.toml:12: train.architecture_file: is there beside architecture; leave one of them out",
    );
    let file = |name: &str| STUDY.replace("architecture = \"digits-tiny\"", &format!("architecture_file = \"{name}\""));
    assert_eq!(
        problems(&file("wide.json")),
        "e.toml:10: train.architecture_file: wide.json takes inputs of 8×9×1, and those of 'digits' are 8×8×1; use \
         another architecture or data set\n\
         e.toml:10: train.architecture_file: wide.json tells 3 classes apart, and 'digits' has 10"
    );
    assert_eq!(
        problems(&file("list.json")),
        "e.toml:10: train.architecture_file: list.json describes no architecture: it needs input, class_count and \
         layers, as those in collector/trainers/src/tinywatt_trainers/architectures have"
    );
    let cut = problems(&file("cut.json"));
    assert!(cut.starts_with("e.toml:10: train.architecture_file: cut.json is not JSON: EOF"), "{cut}");
    let gone = problems(&file("gone.json"));
    assert!(gone.starts_with("e.toml:10: train.architecture_file: gone.json cannot be read: No such file"), "{gone}");
}

#[test]
fn wrong_values_are_named_with_the_way_out() {
    check("epochs = 2", "epochs = 0", "e.toml:11: train.epochs: must be a whole number from 1 to 100000, and is 0");
    check(
        "epochs = 2\n",
        "",
        "e.toml:7: train.epochs: is missing; it says how often the training inputs are gone through",
    );
    check_more("learning_rate = 0", "e.toml:12: train.learning_rate: must be above 0, and is 0");
    check_more(
        "[train.optimise]\nsparsity = 1.0",
        "e.toml:13: train.optimise.sparsity: must be from 0 to 0.99, and is 1",
    );
    check_more(
        "[train.optimise]\ncalibration = 3",
        "e.toml:13: train.optimise.calibration: is not a known key; known here: batch_size, calibration_count, \
         cluster_count, fine_tune_epochs, learning_rate, sparsity",
    );
    check_more(
        "[train.config]\nepochs = 3",
        "e.toml:13: train.config.epochs: is written by the collector itself; use its own key, outside of this table",
    );
    check_more(
        "[train.config]\nsince = 2020-01-01",
        "e.toml:13: train.config.since: is a date, which JSON does not have; write it as a text in quotes",
    );
    check_more("[train.config]\nx = inf", "e.toml:13: train.config.x: must be a finite number, JSON has no other");
    let long = "x".repeat(33);
    check(
        "name = \"keras\"\n",
        &format!("name = \"{long}\"\n"),
        "e.toml:8: train.name: must have 1 to 32 characters, no space at its ends, all on one line",
    );
}

#[test]
fn where_jobs_run_must_be_said_and_be_possible() {
    check(
        "[training]\nnode = \"host\"\n",
        "",
        "e.toml:1: [[train]] needs a [training], which names the node that trains",
    );
    check("[dataset]\nname = \"digits\"\n", "", "e.toml:1: [[train]] needs a [dataset], which names what is learnt");
    check(
        "node = \"host\"\n",
        "",
        "e.toml:5: training.node: is missing; it names the node that trains, as `collector nodes` lists it",
    );
    check("[[train]]", "device = \"tpu\"\n[[train]]", "e.toml:7: training.device: 'tpu' is no device; known: cpu, gpu");
    check(
        "[[train]]",
        "output_max = \"2 GB\"\n[[train]]",
        "e.toml:7: training.output_max: \"2 GB\" is no size; write it like \"500 MiB\" or \"2 GiB\"",
    );
    check(
        "[[train]]",
        "output_max = \"3 KiB\"\n[[train]]",
        "e.toml:7: training.output_max: must be from 1 MiB to 1024 GiB, and is 3 KiB",
    );
    check(
        "[[train]]",
        "time_limit = \"0s\"\n[[train]]",
        "e.toml:7: training.time_limit: must be from 1s to 14days, and is 0s",
    );
    check(
        "[[train]]",
        "further_channels = [\"gpu\"]\n[[train]]",
        "e.toml:7: training.further_channels: needs channel = \"…\" beside it, which names the first one",
    );
    check(
        "[[train]]",
        "channel = \"gpu\"\nfurther_channels = [\"gpu\"]\n[[train]]",
        "e.toml:8: training.further_channels: 'gpu' is named twice and would be added twice",
    );
    let without = "name = \"x\"\nnodes = [\"a\"]\n[training]\nnode = \"b\"\n";
    assert_eq!(
        problems(without),
        "e.toml:1: there is nothing to compare; add a [[train]], a [[model]] or a [[trace]]\n\
         e.toml:3: training: trains nothing; add a [[train]], or leave it out"
    );
}

#[test]
fn a_run_has_one_carbon_intensity() {
    let reason = "cannot stand here: a run has one carbon intensity, in [carbon], because with two of them CO2 would order \
                  the treatments differently from energy";
    for (line, key) in [("carbon = 380", "carbon"), ("country = \"FR\"", "country"), ("pue = 1.2", "pue")] {
        let found = problems(&format!("{STUDY}{line}\n"));
        assert!(found.starts_with(&format!("e.toml:12: train.{key}: {reason}")), "{found}");
    }
    let found = problems(&STUDY.replace("node = \"host\"", "node = \"host\"\nintensity_g_per_kwh = 380"));
    assert!(found.starts_with(&format!("e.toml:7: training.intensity_g_per_kwh: {reason}")), "{found}");
    let found = problems(&format!("{STUDY}[[carbon]]\ncountry = \"DE\"\n[[carbon]]\ncountry = \"FR\"\n"));
    assert!(found.starts_with("e.toml:12: carbon: is a list: a run has one carbon intensity, because"), "{found}");
    let found = problems(&format!("{STUDY}[carbon]\ncountry = \"DE\"\n[carbon]\ncountry = \"FR\"\n"));
    assert_eq!(found, "e.toml:14: duplicate key");
    let found = problems(&format!("{STUDY}[train.config]\ngrid_intensity_g_per_kwh = 380\n"));
    assert!(found.starts_with(&format!("e.toml:13: train.config.grid_intensity_g_per_kwh: {reason}")), "{found}");
}

#[test]
fn an_intensity_has_a_source() {
    let carbon = |lines: &str| format!("[carbon]\n{lines}");
    check_more(
        &carbon("country = \"Atlantis\""),
        "e.toml:13: carbon.country: 'Atlantis' is not in the table of countries (collector/data/grid_intensity.csv); give \
         its two letters or English name, or intensity_g_per_kwh with its source",
    );
    check_more(
        &carbon("intensity_g_per_kwh = 380"),
        "e.toml:13: carbon.intensity_g_per_kwh: needs source = \"…\" beside it: who states the figure, and for which \
         year; the report prints it",
    );
    check_more(
        &carbon("country = \"DE\"\nintensity_g_per_kwh = 380"),
        "e.toml:13: carbon.country: is there beside intensity_g_per_kwh; leave one of them out",
    );
    check_more(
        &carbon("pue = 0.9\ncountry = \"DE\""),
        "e.toml:13: carbon.pue: must be at least 1 (all energy of the place per energy of the machine), and is 0.9",
    );
    check_more(
        &carbon(""),
        "e.toml:12: carbon: names no intensity; give country = \"DE\", or intensity_g_per_kwh with the source that \
         states it",
    );
    let own = prepared(&format!("{STUDY}[carbon]\nintensity_g_per_kwh = 380\nsource = \"grid\"\npue = 1.5\n"));
    let expected = v1::Carbon { intensity_g_per_kwh: 380.0, pue: 1.5, source: "grid".to_owned() };
    assert_eq!(own.submit.design.expect("set").carbon, Some(expected));
    let country = prepared(&format!("{STUDY}[carbon]\ncountry = \"germany\"\n")).submit.design.expect("set").carbon;
    let country = country.expect("in the table");
    assert!(country.intensity_g_per_kwh > 100.0 && country.pue == 1.0, "{country:?}");
    assert!(country.source.contains("Germany 20"), "{country:?}");
}

#[test]
fn teachers_are_other_entries_of_the_same_trainer() {
    let second = |trainer: &str, teacher: &str| {
        format!(
            "[[train]]\nname = \"b\"\ntrainer = \"{trainer}\"\narchitecture = \"digits-tiny\"\nepochs = 1\n\
             teacher = \"{teacher}\""
        )
    };
    check_more(&second("keras", "c"), "e.toml:17: train.teacher: 'c' is not a [[train]] of this file; it has keras, b");
    check_more(
        &second("torch", "keras"),
        "e.toml:17: train.teacher: 'keras' is trained by keras, whose checkpoints torch cannot read; use a teacher of \
         the same trainer",
    );
    check_more(&second("tch", "keras"), &{
        let mut expected =
            "e.toml:17: train.teacher: 'keras' is trained by keras, whose checkpoints tch cannot read; use \
                            a teacher of the same trainer\n"
                .to_owned();
        expected.push_str("e.toml:17: train.teacher: tch does not distil; use keras or torch");
        expected
    });
    check_more(&second("keras", "b"), "e.toml:17: train.teacher: 'b' learns, in the end, from its own pupils");
}

#[test]
fn names_are_unique_over_what_they_become() {
    check_more(
        "[[train]]\nname = \"keras\"\ntrainer = \"torch\"\narchitecture = \"digits-tiny\"\nepochs = 1",
        "e.toml:13: train.name: the name 'keras: train' is taken, see line 8; give each its own",
    );
    let found = problems(&format!("{STUDY}[[model]]\nname = \"keras/float32\"\nfile = \"gone.tflite\"\n"));
    assert!(
        found.contains("e.toml:8: train.name: the name 'keras/float32' is taken, see line 13; give each its own"),
        "{found}"
    );
}

#[test]
fn a_data_set_must_have_something_to_learn() {
    check(
        "name = \"digits\"\n",
        "name = \"digits\"\ntrain_limit = 5000\n",
        "e.toml:4: dataset.name: a limit of 5000 was set, and the training part of digits has 1213 inputs; lower the \
         limit or leave it out",
    );
    let cifar10 = STUDY.replace("\"digits\"", "\"cifar10\"").replace("digits-tiny", "resnet8");
    assert_eq!(
        problems(&cifar10),
        "e.toml:4: dataset.name: has no path; fetch it with `collector dataset fetch cifar10` and name its folder"
    );
    let model = "name = \"x\"\nnodes = [\"a\"]\n[dataset]\nname = \"digits\"\nvalidation_limit = 3\n[[model]]\n\
                 name = \"m\"\nfile = \"m.pt\"\n";
    let found = problems(model);
    assert!(
        found.contains(
            "e.toml:5: dataset.validation_limit: limits what is trained on, and nothing is; leave it out, or add a \
             [[train]]"
        ),
        "{found}"
    );
}

#[test]
fn a_data_set_is_fetched_once_all_else_is_right() {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("e.toml");
    let text = STUDY.replace("\"digits\"", "\"svhn\"").replace("digits-tiny", "svhn-study");
    let mut asked = Vec::new();
    fs::write(&path, text.replace("epochs = 2", "epochs = 0")).expect("writable");
    let mut fetch = |kind| {
        asked.push(kind);
        Err("no way there".to_owned())
    };
    Experiment::read_fetching(&path, &mut fetch).map(|_| ()).expect_err("no epochs");
    fs::write(&path, text).expect("writable");
    let problems = Experiment::read_fetching(&path, &mut fetch).map(|_| ()).expect_err("not fetched").to_string();
    assert!(problems.ends_with("e.toml:4: dataset.name: no way there"), "{problems}");
    assert_eq!(asked, [Kind::Svhn]);
}

// === against nodes ===

/// Changes the study and the nodes and expects the problems.
#[track_caller]
fn check_nodes(more: &str, change: impl FnOnce(&mut v1::Capabilities, &mut v1::Capabilities), expected: &str) {
    let text = STUDY.replace("node = \"host\"\n", &format!("node = \"host\"\n{more}"));
    let [mut pi, mut host] = nodes();
    change(pi.capabilities.as_mut().expect("set"), host.capabilities.as_mut().expect("set"));
    let experiment = Experiment::parse(&text, Path::new("e.toml")).expect("right by itself");
    assert_eq!(experiment.prepare(&[pi, host]).expect_err(expected).to_string(), expected);
}

#[test]
fn a_training_node_must_be_able_to() {
    check_nodes(
        "",
        |_, host| host.runtimes.clear(),
        "e.toml:6: training.node: node 'host' executes no jobs (it has none); set enabled = true under [jobs] in its \
         agent.toml and restart its agent",
    );
    check_nodes(
        "device = \"gpu\"\n",
        |_, _| (),
        "e.toml:7: training.device: node 'host' has no GPU that jobs can use; use \"cpu\", or run `agent check` there",
    );
    check_nodes(
        "",
        |_, host| host.channels.push(channel("gpu")),
        "e.toml:6: training.node: node 'host' has 2 channels (rail, gpu); say which with channel = \"…\"",
    );
    check_nodes(
        "channel = \"rail\"\nfurther_channels = [\"gpu\"]\n",
        |_, _| (),
        "e.toml:8: training.further_channels: node 'host' has no channel 'gpu' that measures; it has rail",
    );
    let rails = |host: &mut v1::Capabilities, rails: [(&str, &str); 2]| {
        host.channels = rails.map(|(name, rail)| v1::Channel { rail: rail.to_owned(), ..channel(name) }).to_vec();
    };
    check_nodes(
        "channel = \"core\"\nfurther_channels = [\"package\"]\n",
        |_, host| {
            let package = "machine/processors/package-0";
            rails(host, [("package", package), ("core", "machine/processors/package-0/core")]);
        },
        "e.toml:8: training.further_channels: on node 'host' channel 'core' (machine/processors/package-0/core) is already \
         in channel 'package' (machine/processors/package-0): added up, its joules would count twice; name one of the two",
    );
    check_nodes(
        "channel = \"gpu\"\nfurther_channels = [\"again\"]\n",
        |_, host| rails(host, [("gpu", "machine/gpus/GPU-0"), ("again", "machine/gpus/GPU-0")]),
        "e.toml:8: training.further_channels: on node 'host' channels 'gpu' and 'again' both measure machine/gpus/GPU-0: \
         added up, every joule would count twice; name one of the two",
    );
    check_nodes(
        "idle = \"4s\"\n",
        |_, host| {
            let update_period_ns = 100_000_000;
            let counter = v1::CounterScale { update_period_ns, ..v1::CounterScale::default() };
            host.channels[0].scale = Some(v1::channel::Scale::Counter(counter));
        },
        "e.toml:7: training.idle: 4s is too short for channel 'rail' of node 'host', which takes a sample every 100ms; \
         use at least 16s 412ms (165 samples), and several times that where power is not steady",
    );
    check_nodes(
        "",
        |pi, _| pi.runtimes.retain(|runtime| runtime.name != "litert"),
        "e.toml:7: train.techniques: node 'pi-4' has no runtime 'litert' (it has torchscript 1); run `agent check` there, \
         it tells what to do",
    );
}

#[test]
fn a_study_without_models_for_devices_needs_no_nodes() {
    let text = STUDY.replace("nodes = [\"pi-4\"]\n", "") + "techniques = []\n";
    let submit = prepared(&text).submit;
    assert_eq!(submit.design.expect("set").nodes, ["host"]);
    assert_eq!(submit.treatments.len(), 1);
}

// === what it becomes ===

/// Everything that matters of a submission, for people.
fn shown(submit: &v1::SubmitRequest) -> String {
    let mut text = String::new();
    for treatment in &submit.treatments {
        let v1::Treatment { name, family, framework, technique, nodes, channel, further_channels, .. } = treatment;
        let _ = writeln!(text, "{name}\n  family {family:?} framework {framework:?} technique {technique:?}");
        if !nodes.is_empty() {
            let _ = writeln!(text, "  on {} by {channel:?} + {further_channels:?}", nodes.join(", "));
        }
        match treatment.workload.as_ref().expect("each has one") {
            Workload::Job(job) => {
                let kind = job.kind().as_str_name();
                let _ = writeln!(text, "  {kind} {:?}\n  prepare {:?}", job.command, job.prepare);
                let _ = writeln!(text, "  config {}", job.config_json);
                for input in &job.inputs {
                    let source = match input.source.as_ref().expect("set") {
                        Source::Artifact(artifact) => format!("{} ({} B)", artifact.name, artifact.size_bytes),
                        Source::Produced(produced) => format!("{} of '{}'", produced.role, produced.treatment),
                    };
                    let _ = writeln!(text, "  input {} = {source}", input.name);
                }
                let device = job.device().as_str_name();
                let _ = writeln!(
                    text,
                    "  seed {} threads {} {device} idle {} limit {} output {}",
                    job.seed, job.thread_count, job.idle_ns, job.time_limit_ns, job.output_bytes_max
                );
            }
            Workload::Inference(inference) => {
                let model = inference.model_from.as_ref().map(|from| format!("{} of '{}'", from.role, from.treatment));
                let _ = writeln!(
                    text,
                    "  {} {:?} threads {} scale {} offset {} model {} inputs {}",
                    inference.runtime,
                    inference.engine,
                    inference.thread_count,
                    inference.input_scale,
                    inference.input_offset,
                    model.unwrap_or_default(),
                    inference.inputs.as_ref().expect("set").name
                );
            }
            Workload::Replay(_) => {}
        }
    }
    text
}

#[test]
fn the_example_study_becomes_what_it_became() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(folder.join("study.example.toml")).expect("shipped");
    let text = text.replace("gpu-host", "host");
    let prepared = prepared(&text);
    let snapshot = folder.join("src/experiment/snapshots/study.txt");
    let shown = shown(&prepared.submit);
    if std::env::var_os("TINYWATT_BLESS").is_some() {
        fs::write(&snapshot, &shown).expect("writable");
    }
    let expected = fs::read_to_string(&snapshot).unwrap_or_default();
    assert!(shown == expected, "{} differs; the study now becomes:\n{shown}", snapshot.display());
    let names: Vec<&str> = prepared.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    assert_eq!(names, ["digits inputs", "digits training inputs", "digits validation inputs"]);
}

#[test]
fn the_examples_values_are_the_defaults() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("study.example.toml")).expect("shipped");
    let text = text.replace("gpu-host", "host");
    let defaults = [
        "device =",
        "threads =",
        "idle =",
        "time_limit",
        "output_max",
        "batch_size",
        "learning_rate",
        "pue =",
        "calibration_count",
        "fine_tune_epochs",
        "active =",
        "seed",
        "replicates",
        "attempts_max",
    ];
    let is_default = |line: &&str| defaults.iter().any(|key| line.starts_with(key));
    let short: String = text.lines().filter(|line| !is_default(line)).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(text.lines().filter(is_default).count(), defaults.len() + 3, "some keys stand in several tables");
    let without_text = |text: &str| v1::SubmitRequest { experiment_toml: String::new(), ..prepared(text).submit };
    assert_eq!(without_text(&text), without_text(&short));
}

#[test]
fn an_own_trainer_gets_its_own_words_and_no_more() {
    let text = STUDY.replace(
        "trainer = \"keras\"\narchitecture = \"digits-tiny\"\nepochs = 2\n",
        "command = [\"/opt/t\", \"--fast\"]\noptimise_command = [\"o\"]\nframework = \"jax\"\n\
         runtime = \"torchscript\"\ntechniques = [\"float32\", \"sparse\"]\n\
         [train.config]\nwidth = 32\nlayers = [{ kind = \"a\", flag = true }]\n[train.optimise]\nrounds = 2\n",
    );
    let submit = prepared(&text).submit;
    let names: Vec<&str> = submit.treatments.iter().map(|treatment| treatment.name.as_str()).collect();
    assert_eq!(names, ["keras: train", "keras/float32", "keras: optimise sparse", "keras/sparse"]);
    let job = |index: usize| match &submit.treatments[index].workload {
        Some(Workload::Job(job)) => job.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(job(0).command, ["/opt/t", "--fast"]);
    assert_eq!(
        job(0).config_json,
        r#"{"input_offset":0.0,"input_scale":0.0625,"layers":[{"flag":true,"kind":"a"}],"width":32}"#
    );
    assert_eq!(job(2).command, ["o"]);
    assert_eq!(job(2).config_json, r#"{"input_offset":0.0,"input_scale":0.0625,"rounds":2,"technique":"sparse"}"#);
    assert_eq!(submit.treatments[3].framework, "jax");
}

#[test]
fn the_engine_of_dynamic_models_can_be_chosen() {
    let text = STUDY.replace("trainer = \"keras\"", "trainer = \"torch\"\ntechniques = [\"dynamic\", \"pruned\"]");
    let submit = prepared(&format!("{text}[train.optimise]\nengine = \"qnnpack\"\n")).submit;
    let engines: Vec<(&str, String, bool)> = submit
        .treatments
        .iter()
        .map(|treatment| match &treatment.workload {
            Some(Workload::Inference(inference)) => (treatment.name.as_str(), inference.engine.clone(), false),
            Some(Workload::Job(job)) => (treatment.name.as_str(), String::new(), job.config_json.contains("qnnpack")),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("keras: train", "", false),
        ("keras: optimise dynamic", "", true),
        ("keras/dynamic", "qnnpack", false),
        ("keras: optimise pruned", "", false),
        ("keras/pruned", "", false),
    ];
    assert_eq!(engines, expected.map(|(name, engine, told)| (name, engine.to_owned(), told)));
    assert_eq!(
        problems(&format!("{text}[train.optimise]\nengine = \"onednn\"\n")),
        "e.toml:14: train.optimise.engine: 'onednn' is no quantised engine; known: fbgemm, qnnpack"
    );
}

#[test]
fn a_description_of_the_users_stands_in_the_jobs_configuration() {
    let folder = TempDir::new().expect("temporary folder");
    let description = r#"{"name":"mine","input":[8,8,1],"class_count":10,"layers":[{"op":"flatten"}]}"#;
    fs::write(folder.path().join("mine.json"), description).expect("writable");
    let text = STUDY.replace("architecture = \"digits-tiny\"", "architecture_file = \"mine.json\"");
    let experiment = Experiment::parse(&text, &folder.path().join("e.toml")).expect("right");
    let submit = experiment.prepare(&nodes()).expect("possible").submit;
    let Some(Workload::Job(job)) = &submit.treatments[0].workload else { panic!("a job") };
    let config: serde_json::Value = serde_json::from_str(&job.config_json).expect("JSON");
    assert_eq!(config["architecture"], serde_json::from_str::<serde_json::Value>(description).expect("JSON"));
}

#[test]
fn the_collector_accepts_what_is_prepared() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("study.example.toml")).expect("shipped");
    let prepared = prepared(&text.replace("gpu-host", "host"));
    let rows = nodes().map(|node| NodeRow {
        node: node.node.parse().expect("a name"),
        agent_version: String::new(),
        capabilities: node.capabilities.expect("set"),
        last_seen_unix_ns: 0,
        boot: BootId::random(),
    });
    let has = |sha256| prepared.artifacts.iter().any(|artifact| artifact.sha256 == sha256);
    assert_eq!(schedule::check(&prepared.submit, &rows, has), Vec::<String>::new());
}
