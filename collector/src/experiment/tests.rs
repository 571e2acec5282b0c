//! One table of problems for the file alone, one for the nodes, and what a whole experiment becomes.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tinywatt_proto::card::ModelCard;
use tinywatt_proto::ids::BootId;
use tinywatt_proto::inputs::{Encoding, InputSet};
use tinywatt_proto::v1;

use super::*;
use crate::card;
use crate::dataset::digits::MODELS;
use crate::schedule;
use crate::store::NodeRow;

/// A folder with the digits models, an experiment of `text` beside them.
struct Bench {
    folder: TempDir,
    path: PathBuf,
}

impl Bench {
    fn new(text: &str) -> Self {
        let folder = TempDir::new().expect("temporary folder");
        for model in &MODELS {
            fs::write(folder.path().join(model.file), model.content).expect("model");
        }
        let float32 = MODELS[0].content;
        fs::write(folder.path().join("cut.tflite"), &float32[..float32.len() / 2]).expect("cut model");
        fs::write(folder.path().join("text.tflite"), "not a model").expect("other file");
        fs::write(folder.path().join("trace.json"), TRACE).expect("trace");
        fs::write(folder.path().join("cut.json"), "[{\"a\":").expect("cut trace");
        let set = |encoding, classes, shape: &[u32], bytes: usize| {
            InputSet::new(encoding, classes, shape.to_vec(), vec![0], vec![0; bytes]).expect("fits").to_bytes()
        };
        fs::write(folder.path().join("wide.twin"), set(Encoding::Plain, 10, &[8, 9, 1], 72)).expect("set");
        fs::write(folder.path().join("three.twin"), set(Encoding::Plain, 3, &[8, 8, 1], 64)).expect("set");
        fs::write(folder.path().join("quantised.twin"), set(Encoding::Quantised, 10, &[8, 8, 1], 64)).expect("set");
        let path = folder.path().join("e.toml");
        fs::write(&path, text).expect("experiment");
        Self { folder, path }
    }

    fn read(&self) -> Result<Experiment, String> {
        Experiment::read(&self.path).map_err(|problems| self.shown(&problems))
    }

    /// Problems without the folder's name, which changes from run to run.
    fn shown(&self, problems: &Problems) -> String {
        problems.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// One recording, as benches publish them.
const TRACE: &str =
    r#"[{"infer": {"iterations": 5}, "power": {"samples": [1e-5, 2e-5], "timestamps": [["00", 0], ["01", 2]]}}]"#;

const WHOLE: &str = r#"name = "digits"
nodes = ["pi-4"]
[dataset]
name = "digits"
[windows]
idle = "1s"
[[model]]
name = "a"
file = "cnn-float32.tflite"
"#;

/// Changes one part of a whole experiment and expects the problems, one per line.
fn check(part: &str, replacement: &str, expected: &str) {
    assert!(WHOLE.contains(part), "{part} is not in the experiment");
    let bench = Bench::new(&WHOLE.replace(part, replacement));
    let found = bench.read().map(|_| ()).expect_err(expected);
    assert_eq!(found, expected);
}

#[test]
fn the_whole_experiment_is_accepted() {
    Bench::new(WHOLE).read().expect("nothing is wrong with it");
}

#[test]
fn the_example_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiment.example.toml");
    let experiment = Experiment::read(&path).expect("the example is right");
    let prepared = experiment.prepare(&[node("pi-4")]).expect("for such a node");
    assert_eq!(prepared.submit.treatments.len(), 2);
    assert_eq!(prepared.submit.design.expect("set").seed, 1);
}

#[test]
fn the_examples_values_are_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiment.example.toml");
    let text = fs::read_to_string(&path).expect("shipped");
    let defaults =
        ["seed", "replicates", "attempts_max", "idle", "active", "warm_up", "cool_down", "runtime", "threads"];
    let is_default = |line: &&str| defaults.iter().any(|key| line.starts_with(&format!("{key} =")));
    let short: String = text.lines().filter(|line| !is_default(line)).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(text.lines().filter(is_default).count(), defaults.len());
    let submit = |text: &str| {
        let experiment = Experiment::parse(text, &path).expect("right");
        let submit = experiment.prepare(&[node("pi-4")]).expect("right").submit;
        (submit.treatments, submit.design)
    };
    assert_eq!(submit(&text), submit(&short));
}

#[test]
fn wrong_keys_are_named_with_their_line() {
    check(
        "[windows]\n",
        "[windows]\nactve = \"1s\"\n",
        "e.toml:6: windows.actve: is not a known key; known here: active, cool_down, idle, warm_up",
    );
    check(
        "[[model]]\n",
        "[[model]]\nthread = 2\n",
        "e.toml:8: model.thread: is not a known key; known here: engine, file, input_offset, \
         input_scale, name, runtime, threads",
    );
    check("name = \"digits\"\nnodes", "nodes", "e.toml:1: name: is missing; runs are called after it");
    check("name = \"a\"\n", "", "e.toml:7: model.name: is missing; reports call the treatment by it");
    check(
        "nodes = [\"pi-4\"]\n",
        "",
        "e.toml:1: nodes: is missing; name the nodes that execute the trials, as `collector nodes` lists them",
    );
    check("nodes = [\"pi-4\"]", "nodes = \"pi-4\"", "e.toml:2: nodes: must be a list of texts, and is a string");
    check(
        "[dataset]\nname = \"digits\"\n[windows]\nidle = \"1s\"\n",
        "windows = 3\n[dataset]\nname = \"digits\"\n",
        "e.toml:3: windows: must be a table, written [windows], and is an integer",
    );
    check("[[model]]", "[model]", "e.toml:7: model: must be a list of tables; write each under a line [[model]]");
}

#[test]
fn wrong_values_are_named_with_the_way_out() {
    check("nodes", "replicates = 0\nnodes", "e.toml:2: replicates: must be a whole number from 1 to 1000, and is 0");
    check("nodes", "replicates = -3\nnodes", "e.toml:2: replicates: must be a whole number from 1 to 1000, and is -3");
    check(
        "nodes",
        "seed = \"x\"\nnodes",
        "e.toml:2: seed: must be a whole number from 0 to 18446744073709551615, and is a string",
    );
    check(
        "[windows]",
        "limit = 0\n[windows]",
        "e.toml:5: dataset.limit: must be a whole number from 1 to 4294967295, and is 0",
    );
    check(
        "[[model]]",
        "[[model]]\nthreads = 0",
        "e.toml:8: model.threads: must be a whole number from 1 to 1024, and is 0",
    );
    check(
        "[[model]]",
        "[[model]]\nruntime = \"torch\"",
        "e.toml:8: model.runtime: 'torch' does not run models; known: litert, torchscript, executorch",
    );
    check(
        "[[model]]",
        "[[model]]\ninput_scale = 0",
        "e.toml:8: model.input_scale: a scale of 0 makes all inputs alike",
    );
    check(
        "[[model]]",
        "[[model]]\ninput_offset = nan",
        "e.toml:8: model.input_offset: must be a finite number, and is nan",
    );
    check(
        "idle = \"1s\"",
        "idle = \"1 parsec\"",
        "e.toml:6: windows.idle: \"1 parsec\" is no duration (unknown time unit \"parsec\", supported units: ns, us/µs, ms, sec, \
         min, hours, days, weeks, months, years (and few variations)); write it like \"500ms\" or \"10s\"",
    );
    check("idle = \"1s\"", "idle = \"2 days\"", "e.toml:6: windows.idle: must be from 1ms to 1day, and is 2days");
    check(
        "name = \"digits\"\nnodes",
        "name = \"My digits\"\nnodes",
        "e.toml:1: name: 'My digits' is not a name: use 1 to 64 of a-z, 0-9 and '-', beginning with a letter or digit",
    );
    check(
        "[\"pi-4\"]",
        "[]",
        "e.toml:2: nodes: is empty; name the nodes that execute the trials, as `collector nodes` lists them",
    );
    check(
        "[\"pi-4\"]",
        "[\"pi-4\",\n\"pi-4\"]",
        "e.toml:3: nodes: 'pi-4' is named twice; a node executes every trial once",
    );
    check(
        "[\"pi-4\"]",
        "[\"Pi 4\"]",
        "e.toml:2: nodes: 'Pi 4' is not a name: use 1 to 64 of a-z, 0-9 and '-', beginning with a letter or digit",
    );
    check(
        "[[model]]\n",
        "[[model]]\nname = \"a\"\nfile = \"cnn-float16.tflite\"\n[[model]]\n",
        "e.toml:11: model.name: the name 'a' is taken, see line 8; give each its own",
    );
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    check("[windows]", "[windows", "e.toml:5: unclosed table, expected `]`");
}

#[test]
fn a_wrong_data_set_is_refused() {
    let known = "known: digits, cifar10, svhn, kws, file";
    check(
        "[dataset]\nname = \"digits\"",
        "[dataset]\nname = \"mnist\"",
        &format!("e.toml:4: dataset.name: 'mnist' is not a known data set; {known}"),
    );
    check(
        "[dataset]\nname = \"digits\"\n",
        "",
        "e.toml:1: models need a [dataset], which names the inputs that they are asked",
    );
    check("[windows]", "path = \"x\"\n[windows]", "e.toml:5: dataset.path: 'digits' is built in; leave the path out");
    check(
        "[dataset]\nname = \"digits\"",
        "[dataset]\nname = \"kws\"",
        "e.toml:3: dataset.path: is missing; 'kws' is read from a folder or file of yours",
    );
    check(
        "[windows]",
        "limit = 451\n[windows]",
        "e.toml:5: dataset.limit: a limit of 451 was set, and digits has 450 inputs; lower the limit or leave it out",
    );
    check(
        "[dataset]\nname = \"digits\"",
        "[dataset]\nname = \"file\"\npath = \"gone.twin\"",
        "e.toml:5: dataset.path: gone.twin cannot be read (No such file or directory (os error 2)); \
         path must name an input set file",
    );
    check(
        "[windows]",
        "class_names = [\"0\"]\n[windows]",
        "e.toml:5: dataset.class_names: 'digits' brings its own class names; leave them out",
    );
}

#[test]
fn a_wrong_model_is_refused() {
    let own = |set: &str| format!("[dataset]\nname = \"file\"\npath = \"{set}.twin\"");
    let digits = "[dataset]\nname = \"digits\"";
    check(
        "cnn-float32",
        "gone",
        "e.toml:9: model.file: gone.tflite cannot be read: No such file or directory (os error 2); \
         paths are relative to the experiment file",
    );
    check(
        "cnn-float32",
        "text",
        "e.toml:9: model.file: text.tflite: byte 4: not a .tflite model (the identifier TFL3 is missing); \
         fetch or convert the model again",
    );
    check(
        digits,
        &own("wide"),
        "e.toml:10: model.file: cnn-float32.tflite takes float32 1×8×8×1, and an input of 'file' is 8×9×1; \
         use the data set that the model was made for",
    );
    check(
        digits,
        &own("three"),
        "e.toml:10: model.file: cnn-float32.tflite answers with float32 1×10, and 'file' has 3 classes",
    );
    check(
        digits,
        &own("quantised"),
        "e.toml:10: model.file: cnn-float32.tflite takes float32, and the inputs of 'file' are int8 that already carry a \
         model's quantisation; use the full-integer model that they were made for",
    );
}

#[test]
fn a_runtime_follows_from_the_file_and_an_engine_from_the_runtime() {
    check(
        "cnn-float32.tflite\"",
        "cnn-float32.tflite\"\nengine = \"fbgemm\"",
        "e.toml:10: model.engine: 'litert' has no engines; leave it out (torchscript has: fbgemm, qnnpack)",
    );
    check(
        "cnn-float32.tflite\"",
        "text.tflite\"\nruntime = \"torchscript\"\nengine = \"onednn\"",
        "e.toml:9: model.file: text.tflite: it is not a TorchScript module, or a damaged one (no readable zip archive): \
         invalid Zip archive: Could not find EOCD\n\
         e.toml:11: model.engine: 'onednn' is no quantised engine; known: fbgemm, qnnpack",
    );
}

/// A bench with a module `m.pt` of this content, and more keys of the model.
fn module(content: &[u8], keys: &str) -> Bench {
    let bench = Bench::new(&WHOLE.replace("cnn-float32.tflite\"", &format!("m.pt\"{keys}")));
    fs::write(bench.folder.path().join("m.pt"), content).expect("writable");
    bench
}

#[test]
fn a_module_tells_its_facts_on_its_card() {
    let mut node = node("pi-4");
    node.capabilities.as_mut().expect("set").runtimes.push(runtime("torchscript", "2.11.0"));
    let treatment = |bench: &Bench| {
        let submit = bench.read().expect("right").prepare(std::slice::from_ref(&node)).expect("possible").submit;
        let treatment = submit.treatments[0].clone();
        let Some(v1::treatment::Workload::Inference(inference)) = &treatment.workload else { panic!("a model") };
        (inference.runtime.clone(), inference.engine.clone(), treatment)
    };
    for keys in ["", "\nengine = \"qnnpack\""] {
        let (runtime, engine, treatment) = treatment(&module(&card::tests::module(&card::tests::card()), keys));
        assert_eq!((runtime.as_str(), engine.as_str()), ("torchscript", "qnnpack"));
        assert_eq!((treatment.precision.as_str(), treatment.mac_count), ("full-integer-float-io", None));
        assert_eq!(treatment.parameter_count, Some(7_000));
    }
    let float32 = ModelCard {
        engine: "none".to_owned(),
        technique: "float32".to_owned(),
        mac_count: Some(5),
        ..card::tests::card()
    };
    let (_, engine, treatment) = treatment(&module(&card::tests::module(&float32), ""));
    assert_eq!((engine.as_str(), treatment.precision.as_str(), treatment.mac_count), ("", "float32", Some(5)));
}

#[test]
fn a_module_that_cannot_be_executed_here_is_refused() {
    let check = |content: &[u8], keys: &str, expected: &str| {
        let found = module(content, keys).read().map(|_| ()).expect_err(expected);
        assert!(found.starts_with(expected), "{found}");
    };
    check(b"no card", "", "e.toml:9: model.file: m.pt: it is not a TorchScript module");
    let bare = {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file("m/data.pkl", zip::write::SimpleFileOptions::default()).expect("starts");
        writer.finish().expect("finished").into_inner()
    };
    check(
        &bare,
        "",
        "e.toml:9: model.file: m.pt: it carries no card, so nobody knows the engine and the input that it was made for; \
         save it with torch.jit.save(module, path, _extra_files={\"tinywatt.json\": …}), a JSON object",
    );
    let of = |change: fn(&mut ModelCard)| {
        let mut card = card::tests::card();
        change(&mut card);
        card::tests::module(&card)
    };
    check(
        &of(|_| ()),
        "\nengine = \"fbgemm\"",
        "e.toml:10: model.engine: m.pt was made for the engine 'qnnpack', and answers wrongly under 'fbgemm'; leave it \
         out, or quantise the model for that engine",
    );
    let file = "e.toml:9: model.file: m.pt";
    check(
        &of(|card| card.engine = "onednn".to_owned()),
        "",
        &format!("{file} was made for the engine 'onednn'; known: "),
    );
    check(
        &of(|card| card.input_shape[2] = 9),
        "",
        &format!("{file} takes float32 1×8×9×1, and an input of 'digits' is 8×8×1; use the data set"),
    );
    check(&of(|card| card.input_shape[0] = 4), "", &format!("{file} takes 4 inputs at a time (float32 4×8×8×1);"));
    check(&of(|card| card.input_shape.clear()), "", &format!("{file} takes float32 , and an input"));
    check(&of(|card| card.input_dtype = "uint8".to_owned()), "", &format!("{file} takes uint8; modules with float32"));
    check(&of(|card| card.class_count = 3), "", &format!("{file} answers with 3 classes, and 'digits' has 10"));
}

#[test]
fn a_cut_model_is_refused_with_its_place() {
    let bench = Bench::new(&WHOLE.replace("cnn-float32", "cut"));
    let text = bench.read().map(|_| ()).expect_err("cut in the middle");
    assert!(text.starts_with("e.toml:9: model.file: cut.tflite: the model is damaged at byte "), "{text}");
}

#[test]
fn a_scale_for_quantised_inputs_is_refused() {
    let text = WHOLE
        .replace("[dataset]\nname = \"digits\"", "[dataset]\nname = \"file\"\npath = \"quantised.twin\"")
        .replace("cnn-float32.tflite\"", "cnn-full-integer.tflite\"\ninput_scale = 0.5");
    let found = Bench::new(&text).read().map(|_| ()).expect_err("no effect");
    assert_eq!(
        found,
        "e.toml:11: model.input_scale: the inputs of 'file' are already quantised and are not scaled; leave it out"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = r#"name = "digits"
replicates = 0
nodes = ["pi-4", 5]
colour = "red"
[dataset]
name = "digits"
limit = 1000
[[model]]
name = "a"
file = "gone.tflite"
threads = 0
[[trace]]
name = "a"
file = "cut.json"
"#;
    let found = Bench::new(text).read().map(|_| ()).expect_err("seven problems");
    let places: Vec<&str> = found.lines().filter_map(|line| line.split(':').nth(1)).collect();
    assert_eq!(places, ["2", "3", "4", "7", "10", "11", "13", "14"], "{found}");
}

#[test]
fn an_experiment_needs_something_to_compare() {
    let found = Bench::new("name = \"x\"\nnodes = [\"pi-4\"]\n").read().map(|_| ()).expect_err("empty");
    assert_eq!(found, "e.toml:1: there is nothing to compare; add a [[train]], a [[model]] or a [[trace]]");
    let found = Experiment::read(Path::new("/gone/e.toml")).map(|_| ()).expect_err("missing");
    assert_eq!(
        found.to_string(),
        "/gone/e.toml: the experiment cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn too_many_trials_are_refused() {
    let nodes: Vec<String> = (0..21).map(|node| format!("\"node-{node}\"")).collect();
    let text = WHOLE.replace("nodes = [\"pi-4\"]", &format!("replicates = 1000\nnodes = [{}]", nodes.join(",")));
    let found = Bench::new(&text).read().map(|_| ()).expect_err("twenty-one thousand");
    assert_eq!(found, "e.toml:2: replicates: makes 21000 trials; a run has at most 20000, so split the experiment");
}

// === against nodes ===

fn node(name: &str) -> v1::NodeSummary {
    v1::NodeSummary {
        node: name.to_owned(),
        connected: true,
        capabilities: Some(v1::Capabilities {
            channels: vec![channel("rail", 808_000)],
            runtimes: vec![runtime("litert", "2.3.0"), runtime("replay", "0.1.0")],
            machine: Some(v1::Machine { cpu_count: 4, ..v1::Machine::default() }),
            ..v1::Capabilities::default()
        }),
        ..v1::NodeSummary::default()
    }
}

fn runtime(name: &str, version: &str) -> v1::Runtime {
    v1::Runtime { name: name.to_owned(), version: version.to_owned() }
}

fn channel(name: &str, sample_period_ns: u64) -> v1::Channel {
    v1::Channel {
        name: name.to_owned(),
        kind: v1::FigureKind::Measured.into(),
        sample_period_ns,
        ..v1::Channel::default()
    }
}

/// Prepares the whole experiment, with one part changed, for one node and expects the problems.
fn check_node(part: &str, replacement: &str, change: impl FnOnce(&mut v1::Capabilities), expected: &str) {
    let bench = Bench::new(&WHOLE.replace(part, replacement));
    let mut node = node("pi-4");
    change(node.capabilities.as_mut().expect("set"));
    let problems = bench.read().expect("right by itself").prepare(&[node]).expect_err(expected);
    assert_eq!(bench.shown(&problems), expected);
}

#[test]
fn an_unknown_node_is_refused_and_the_known_are_named() {
    check_node("pi-4", "pi-9", |_| (), "e.toml:2: nodes: node 'pi-9' is not known; the collector knows pi-4");
    let bench = Bench::new(WHOLE);
    let problems = bench.read().expect("right").prepare(&[]).expect_err("no node");
    assert_eq!(
        bench.shown(&problems),
        "e.toml:2: nodes: node 'pi-4' is not known, and no other is yet; start `agent run` on it"
    );
}

#[test]
fn a_node_that_cannot_do_it_is_refused() {
    check_node(
        "",
        "",
        |capabilities| capabilities.runtimes.retain(|runtime| runtime.name != "litert"),
        "e.toml:7: model.runtime: node 'pi-4' has no runtime 'litert' (it has replay 0.1.0); run `agent check` there, \
         it tells what to do",
    );
    check_node(
        "[[model]]",
        "[[trace]]\nname = \"t\"\nfile = \"trace.json\"\n[[model]]",
        |capabilities| capabilities.runtimes.retain(|runtime| runtime.name != "replay"),
        "e.toml:8: trace.name: node 'pi-4' cannot play recordings (it has litert 2.3.0); update its agent",
    );
}

#[test]
fn a_channel_must_be_there_and_be_clear() {
    check_node(
        "",
        "",
        |capabilities| capabilities.channels.clear(),
        "e.toml:2: nodes: node 'pi-4' has no channel that measures; add a [[sensor]] to its agent.toml",
    );
    check_node(
        "",
        "",
        |capabilities| capabilities.channels.push(channel("usb", 1_000_000)),
        "e.toml:2: nodes: node 'pi-4' has 2 channels (rail, usb); say which with channel = \"…\"",
    );
    check_node(
        "nodes",
        "channel = \"usb\"\nnodes",
        |_| (),
        "e.toml:2: channel: node 'pi-4' has no channel 'usb' that measures; it has rail",
    );
    check_node(
        "nodes",
        "channel = \"old\"\nnodes",
        |capabilities| {
            let mut recording = channel("old", 1_000_000);
            recording.set_kind(v1::FigureKind::MeasuredElsewhere);
            capabilities.channels.push(recording);
        },
        "e.toml:2: channel: node 'pi-4' has no channel 'old' that measures; it has rail",
    );
}

#[test]
fn a_window_too_short_for_its_sensor_is_refused() {
    check_node(
        "idle = \"1s\"",
        "idle = \"80ms\"\nactive = \"81ms\"",
        |_| (),
        "e.toml:6: windows.idle: 80ms is too short for channel 'rail' of node 'pi-4', which takes a sample every 808us; \
         use at least 80ms 800us (100 samples)",
    );
    check_node(
        "",
        "",
        |capabilities| capabilities.channels[0].sample_period_ns = 1_000_000_000,
        "e.toml:5: windows.active: 10s is too short for channel 'rail' of node 'pi-4', which takes a sample every 1s; \
         use at least 1m 40s (100 samples)\n\
         e.toml:6: windows.idle: 1s is too short for channel 'rail' of node 'pi-4', which takes a sample every 1s; \
         use at least 1m 40s (100 samples)",
    );
}

#[test]
fn a_recording_that_no_agent_could_play_is_refused() {
    let text = "name = \"x\"\nnodes = [\"pi-4\"]\n[[trace]]\nname = \"t\"\nfile = \"empty.json\"\n";
    let bench = Bench::new(text);
    fs::write(bench.folder.path().join("empty.json"), "{}").expect("file");
    let found = bench.read().map(|_| ()).expect_err("no recording");
    assert!(found.starts_with("e.toml:5: trace.file: empty.json is not a recording, which is a JSON list"), "{found}");
}

#[test]
fn of_text_that_is_no_toml_the_first_mistake_is_told() {
    let text = "name = \"x\nnodes = [\"pi-4\"\n[[model\nname = = 3\nfile = \n";
    let found = Bench::new(text).read().map(|_| ()).expect_err("no TOML");
    assert!(found.starts_with("e.toml:1: ") && found.lines().count() == 1, "{found}");
}

#[test]
fn an_absent_node_and_many_threads_are_noted() {
    let bench = Bench::new(&WHOLE.replace("[[model]]", "[[model]]\nthreads = 8"));
    let mut node = node("pi-4");
    node.connected = false;
    let notes = bench.read().expect("right").prepare(&[node]).expect("possible").notes;
    assert_eq!(
        notes,
        [
            "node 'pi-4' is not connected; its trials wait until its agent runs",
            "'a' asks for 8 threads, and node 'pi-4' has 4 processors",
        ]
    );
}

#[test]
fn a_prepared_experiment_carries_everything() {
    let text = WHOLE.replace(
        "[[model]]",
        "[[model]]\nname = \"b\"\nfile = \"./cnn-float32.tflite\"\nthreads = 2\ninput_scale = 0.5\n[[model]]",
    ) + "[[trace]]\nname = \"t\"\nfile = \"trace.json\"\n";
    let prepared = Bench::new(&text).read().expect("right").prepare(&[node("pi-4")]).expect("possible");
    let names: Vec<&str> = prepared.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
    assert_eq!(names, ["digits inputs", "cnn-float32.tflite", "trace.json"], "a content is put once");
    let submit = prepared.submit;
    assert_eq!(submit.experiment_toml, text);
    let treatments: Vec<(&str, &str, u64)> = submit
        .treatments
        .iter()
        .map(|treatment| (treatment.name.as_str(), treatment.precision.as_str(), treatment.model_file_bytes))
        .collect();
    assert_eq!(treatments, [("b", "float32", 58_376), ("a", "float32", 58_376), ("t", "", 0)]);
    let Some(v1::treatment::Workload::Inference(inference)) = &submit.treatments[1].workload else {
        panic!("a model is executed")
    };
    assert_eq!((inference.input_scale, inference.thread_count), (0.0625, 1));
    assert_eq!((inference.idle_ns, inference.active_ns), (1_000_000_000, 10_000_000_000));
    assert_eq!(inference.inputs.as_ref().expect("set").sha256, prepared.artifacts[0].sha256.0);
    let design = submit.design.expect("set");
    assert_eq!((design.dataset.as_str(), design.class_names.len(), design.replicate_count), ("digits", 10, 3));
}

#[test]
fn recordings_alone_need_neither_data_set_nor_channel() {
    let text = "name = \"x\"\nnodes = [\"pi-4\"]\n[[trace]]\nname = \"t\"\nfile = \"trace.json\"\n";
    let mut node = node("pi-4");
    node.capabilities.as_mut().expect("set").channels.clear();
    let prepared = Bench::new(text).read().expect("right").prepare(&[node]).expect("possible");
    assert_eq!(prepared.submit.design.expect("set").dataset, "");
    assert_eq!(prepared.artifacts.len(), 1);
}

#[test]
fn the_collector_accepts_what_is_prepared() {
    let longest = "x".repeat(48);
    let head = format!("name = \"{longest}\"\nattempts_max = 10\nnodes");
    let text = WHOLE.replace("name = \"digits\"\nnodes", &head).replace("idle = \"1s\"", "idle = \"80800us\"");
    let node = node("pi-4");
    let prepared = Bench::new(&text).read().expect("right").prepare(std::slice::from_ref(&node)).expect("possible");
    let row = NodeRow {
        node: "pi-4".parse().expect("a name"),
        agent_version: node.agent_version,
        capabilities: node.capabilities.expect("set"),
        last_seen_unix_ns: 0,
        boot: BootId::random(),
    };
    let has = |sha256| prepared.artifacts.iter().any(|artifact| artifact.sha256 == sha256);
    assert_eq!(schedule::check(&prepared.submit, &[row], has), Vec::<String>::new());
    let longer = Bench::new(&text.replace(&longest, &format!("{longest}x"))).read().map(|_| ()).expect_err("too long");
    assert_eq!(longer, "e.toml:1: name: is longer than 48 characters; shorten it");
}
