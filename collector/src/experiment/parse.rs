//! From TOML to checked values, without looking at any file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tinywatt_proto::ids::{NodeId, RunId};
use toml::de::DeTable;

use super::keys::{Keys, line};
use super::problem::{Findings, Located, Place};
use super::training::{self, ArchitectureKey, ENGINES, Entry, Training};
use super::{Design, Windows, carbon};
use crate::dataset::Kind;
use crate::schedule::{ATTEMPT_COUNT_MAX, EXPERIMENT_BYTES_MAX, TRIAL_COUNT_MAX};

/// What could be understood. A part that is `None` was refused, and the reason noted.
pub(super) struct Draft {
    pub(super) design: Option<Design>,
    pub(super) files: Files,
}

/// The files to read.
pub(super) struct Files {
    pub(super) dataset: Option<DatasetKeys>,
    pub(super) models: Vec<ModelKeys>,
    pub(super) traces: Vec<TraceKeys>,
    pub(super) training: Option<Training>,
    pub(super) entries: Vec<Entry<ArchitectureKey>>,
}

pub(super) struct DatasetKeys {
    pub(super) kind: Kind,
    pub(super) path: Option<Located<String>>,
    pub(super) limit: Option<Located<u32>>,
    pub(super) train_limit: Option<Located<u32>>,
    pub(super) validation_limit: Option<Located<u32>>,
    pub(super) class_names: Option<Vec<String>>,
    pub(super) place: Place,
}

pub(super) struct ModelKeys {
    pub(super) name: Located<String>,
    pub(super) file: Located<String>,
    pub(super) runtime: Located<String>,
    pub(super) engine: Option<Located<String>>,
    pub(super) thread_count: Located<u32>,
    pub(super) input_scale: Option<Located<f64>>,
    pub(super) input_offset: Option<Located<f64>>,
}

pub(super) struct TraceKeys {
    pub(super) name: Located<String>,
    pub(super) file: Located<String>,
}

/// Treatment names stand in tables.
const TREATMENT_NAME_CHARACTERS_MAX: usize = 64;
const REPLICATE_COUNT_DEFAULT: u32 = 3;
const REPLICATE_COUNT_MAX: u32 = 1_000;
const ATTEMPT_COUNT_DEFAULT: u32 = 3;
const SEED_DEFAULT: u64 = 1;
/// Beyond the largest machines an agent will meet; guards against a slip of the finger.
pub(super) const THREAD_COUNT_MAX: u32 = 1_024;
const WARM_UP_DEFAULT: u32 = 50;
const WARM_UP_MAX: u32 = 1_000_000;
const IDLE_DEFAULT: Duration = Duration::from_secs(2);
/// MLPerf Tiny's smallest measured window.
const ACTIVE_DEFAULT: Duration = Duration::from_secs(10);
const COOL_DOWN_DEFAULT: Duration = Duration::from_secs(1);
/// A day: longer windows are slips of the unit.
pub(super) const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// Runtimes that execute models, with the endings of their files.
const RUNTIME_FILES: [(&str, &str); 3] = [(LITERT, "tflite"), (TORCHSCRIPT, "pt"), ("executorch", "pte")];
/// Runtimes that execute models.
pub(super) const RUNTIMES: [&str; 3] = [RUNTIME_FILES[0].0, RUNTIME_FILES[1].0, RUNTIME_FILES[2].0];
/// Runtimes whose model files can be looked into.
pub(super) const LITERT: &str = "litert";
pub(super) const TORCHSCRIPT: &str = "torchscript";

/// Reads the text; `None` when it is no TOML.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Draft> {
    let (document, errors) = DeTable::parse_recoverable(text);
    // What follows the first mistake is mostly its echo.
    if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
        let start = error.span().map_or(0, |span| span.start);
        findings.add(&Place { line: line(text, start), key: String::new() }, format_args!("{}", error.message()));
        return None;
    }
    let mut keys = Keys::root(text, document.get_ref());
    let dataset = keys.table("dataset", findings).map(|keys| dataset(keys, findings));
    let (models, traces) = (keys.tables("model", findings), keys.tables("trace", findings));
    let trains = keys.tables("train", findings);
    if [&models, &traces, &trains].iter().all(|tables| tables.as_ref().is_some_and(Vec::is_empty)) {
        findings.add(keys.place(), "there is nothing to compare; add a [[train]], a [[model]] or a [[trace]]");
    }
    let models: Vec<_> = models.into_iter().flatten().map(|keys| model(keys, findings)).collect();
    let traces: Vec<_> = traces.into_iter().flatten().map(|keys| trace(keys, findings)).collect();
    if !models.is_empty() && dataset.is_none() {
        findings.add(keys.place(), "models need a [dataset], which names the inputs that they are asked");
    }
    let trains: Vec<_> = trains.into_iter().flatten().map(|keys| training::entry(keys, findings)).collect();
    let training = trained(&mut keys, trains.len(), dataset.is_some(), findings);
    let train_count = trains.len();
    let entries: Vec<_> = trains.into_iter().flatten().collect();
    training::check_entries(&entries, findings);
    // What cannot be understood may well be for devices.
    let is_for_devices = !models.is_empty() || !traces.is_empty() || entries.len() < train_count;
    let has_device_models = is_for_devices || entries.iter().any(|entry| !entry.techniques.is_empty());
    let node_of_jobs = training.as_ref().filter(|_| !has_device_models).map(|training| training.node.clone());
    let design = design(keys, node_of_jobs, findings);
    check_names(&models, &traces, &entries, findings);
    if let Some(design) = &design {
        let on_devices =
            models.len() + traces.len() + entries.iter().map(|entry| entry.techniques.len()).sum::<usize>();
        let everything = models.len()
            + traces.len()
            + entries.iter().map(|entry| training::treatment_names(entry).len()).sum::<usize>();
        let job_count = everything - on_devices;
        let block = on_devices as u64 * design.nodes.len() as u64 + job_count as u64;
        let trial_count = block * u64::from(design.replicate_count.value);
        if trial_count > TRIAL_COUNT_MAX {
            findings.add(
                &design.replicate_count.place,
                format_args!(
                    "makes {trial_count} trials; a run has at most {TRIAL_COUNT_MAX}, so split the experiment"
                ),
            );
        }
    }
    let files = Files {
        dataset: dataset.flatten(),
        models: models.into_iter().flatten().collect(),
        traces: traces.into_iter().flatten().collect(),
        training,
        entries,
    };
    Some(Draft { design, files })
}

/// Reads `[training]`, which goes with `[[train]]`.
fn trained(keys: &mut Keys<'_>, train_count: usize, has_dataset: bool, findings: &mut Findings) -> Option<Training> {
    let start = keys.place().clone();
    let place = keys.place_of("training");
    let has_training = keys.has("training");
    let training = keys.table("training", findings).and_then(|keys| training::training(keys, findings));
    match (train_count, has_training) {
        (0, true) => findings.add(&place, "trains nothing; add a [[train]], or leave it out"),
        (0, false) => {}
        (_, has_training) => {
            if !has_training {
                findings.add(&start, "[[train]] needs a [training], which names the node that trains");
            }
            if !has_dataset {
                findings.add(&start, "[[train]] needs a [dataset], which names what is learnt");
            }
        }
    }
    training
}

/// Reads the rest of the file; `node_of_jobs` stands for the nodes when there is nothing but jobs.
fn design(mut keys: Keys<'_>, node_of_jobs: Option<Located<NodeId>>, findings: &mut Findings) -> Option<Design> {
    let start = keys.place().clone();
    let default = |key: &str| Place { key: key.to_owned(), ..start.clone() };
    let name = keys.required_string("name", "runs are called after it", findings);
    let name = name.filter(|name| experiment_name(name, findings));
    let seed = keys.integer("seed", 0..=u64::MAX, findings);
    let replicate_count = keys.count("replicates", 1..=REPLICATE_COUNT_MAX, findings);
    let attempts = keys.count("attempts_max", 1..=ATTEMPT_COUNT_MAX, findings);
    let nodes = match node_of_jobs {
        Some(node) if !keys.has("nodes") => Some(vec![node]),
        _ => nodes(&mut keys, findings),
    };
    let channel = keys.string("channel", findings).and_then(|channel| parsed(channel, findings));
    let windows = match keys.table("windows", findings) {
        Some(keys) => windows(keys, findings),
        None => windows_default(&default("windows")),
    };
    let carbon = carbon::parse(&mut keys, findings);
    keys.finish(findings);
    Some(Design {
        name: name?,
        seed: seed.map_or(SEED_DEFAULT, |seed| seed.value),
        replicate_count: replicate_count
            .unwrap_or_else(|| Located { value: REPLICATE_COUNT_DEFAULT, place: default("replicates") }),
        attempt_count_max: attempts.map_or(ATTEMPT_COUNT_DEFAULT, |attempts| attempts.value),
        nodes: nodes?,
        channel,
        windows,
        carbon,
    })
}

fn experiment_name(name: &Located<String>, findings: &mut Findings) -> bool {
    if let Err(error) = name.value.parse::<RunId>() {
        findings.add(&name.place, error);
        return false;
    }
    if name.value.len() > EXPERIMENT_BYTES_MAX {
        findings.add(&name.place, format_args!("is longer than {EXPERIMENT_BYTES_MAX} characters; shorten it"));
        return false;
    }
    true
}

fn nodes(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<Vec<Located<NodeId>>> {
    const ADVICE: &str = "name the nodes that execute the trials, as `collector nodes` lists them";
    if !keys.has("nodes") {
        let place = Place { key: "nodes".to_owned(), ..keys.place().clone() };
        findings.add(&place, format_args!("is missing; {ADVICE}"));
    }
    let Located { value: names, place } = keys.strings("nodes", findings)?;
    if names.is_empty() {
        findings.add(&place, format_args!("is empty; {ADVICE}"));
        return None;
    }
    let nodes: Vec<Located<NodeId>> = names.into_iter().filter_map(|name| parsed(name, findings)).collect();
    for (index, node) in nodes.iter().enumerate() {
        if nodes[..index].iter().any(|earlier| earlier.value == node.value) {
            findings
                .add(&node.place, format_args!("'{}' is named twice; a node executes every trial once", node.value));
        }
    }
    Some(nodes)
}

pub(super) fn parsed<T: FromStr>(text: Located<String>, findings: &mut Findings) -> Option<Located<T>>
where
    T::Err: fmt::Display,
{
    match text.value.parse() {
        Ok(value) => Some(Located { value, place: text.place }),
        Err(error) => {
            findings.add(&text.place, error);
            None
        }
    }
}

fn windows(mut keys: Keys<'_>, findings: &mut Findings) -> Windows {
    let place = keys.place().clone();
    let default = windows_default(&place);
    let range = Duration::from_millis(1)..=WINDOW_MAX;
    let idle = keys.duration("idle", range.clone(), findings);
    let active = keys.duration("active", range, findings);
    let cool_down = keys.duration("cool_down", Duration::ZERO..=WINDOW_MAX, findings);
    let warm_up = keys.count("warm_up", 0..=WARM_UP_MAX, findings);
    keys.finish(findings);
    Windows {
        idle: idle.unwrap_or(default.idle),
        active: active.unwrap_or(default.active),
        cool_down: cool_down.map_or(default.cool_down, |cool_down| cool_down.value),
        warm_up_inference_count: warm_up.map_or(default.warm_up_inference_count, |warm_up| warm_up.value),
    }
}

fn windows_default(place: &Place) -> Windows {
    let located = |key: &str, value| Located { value, place: Place { key: format!("windows.{key}"), ..place.clone() } };
    Windows {
        idle: located("idle", IDLE_DEFAULT),
        active: located("active", ACTIVE_DEFAULT),
        cool_down: COOL_DOWN_DEFAULT,
        warm_up_inference_count: WARM_UP_DEFAULT,
    }
}

fn dataset(mut keys: Keys<'_>, findings: &mut Findings) -> Option<DatasetKeys> {
    let place = keys.place().clone();
    let known = Kind::ALL.map(Kind::name).join(", ");
    let name = keys.required_string("name", format_args!("known: {known}"), findings);
    let path = keys.string("path", findings);
    let limit = keys.count("limit", 1..=u32::MAX, findings);
    let train_limit = keys.count("train_limit", 1..=u32::MAX, findings);
    let validation_limit = keys.count("validation_limit", 1..=u32::MAX, findings);
    let class_names = keys.strings("class_names", findings);
    keys.finish(findings);
    let name = name?;
    let Some(kind) = Kind::from_name(&name.value) else {
        findings.add(&name.place, format_args!("'{}' is not a known data set; known: {known}", name.value));
        return None;
    };
    match &path {
        None if kind.has_path() && kind.fetch_bytes().is_none() => {
            findings.add(
                &Place { key: "dataset.path".to_owned(), ..place },
                format_args!("is missing; '{kind}' is read from a folder or file of yours"),
            );
            return None;
        }
        Some(path) if !kind.has_path() => {
            findings.add(&path.place, format_args!("'{kind}' is built in; leave the path out"));
        }
        _ => {}
    }
    let class_names = class_names.filter(|names| {
        if kind != Kind::File {
            findings.add(&names.place, format_args!("'{kind}' brings its own class names; leave them out"));
        }
        kind == Kind::File
    });
    let class_names = class_names.map(|names| names.value.into_iter().map(|name| name.value).collect());
    Some(DatasetKeys { kind, path, limit, train_limit, validation_limit, class_names, place: name.place })
}

fn model(mut keys: Keys<'_>, findings: &mut Findings) -> Option<ModelKeys> {
    let place = keys.place().clone();
    let default = |key: &str| Place { key: format!("model.{key}"), ..place.clone() };
    let name = treatment_name(&mut keys, findings);
    carbon::refuse_second(&mut keys, findings);
    let file = keys.required_string("file", "it names the model: .tflite, .pt or .pte", findings);
    let runtime = keys.string("runtime", findings);
    let engine = keys.string("engine", findings);
    let thread_count = keys.count("threads", 1..=THREAD_COUNT_MAX, findings);
    let input_scale = keys.number("input_scale", findings);
    let input_offset = keys.number("input_offset", findings);
    keys.finish(findings);
    if let Some(scale) = &input_scale
        && scale.value == 0.0
    {
        findings.add(&scale.place, "a scale of 0 makes all inputs alike");
    }
    let of_file = file.as_ref().and_then(|file| runtime_of(&file.value)).unwrap_or(LITERT);
    let runtime = runtime.unwrap_or_else(|| Located { value: of_file.to_owned(), place: default("runtime") });
    if !RUNTIMES.contains(&runtime.value.as_str()) {
        let known = RUNTIMES.join(", ");
        findings.add(&runtime.place, format_args!("'{}' does not run models; known: {known}", runtime.value));
    }
    if let Some(engine) = &engine {
        let known = ENGINES.join(", ");
        if runtime.value != TORCHSCRIPT {
            let message = format!("'{}' has no engines; leave it out ({TORCHSCRIPT} has: {known})", runtime.value);
            findings.add(&engine.place, message);
        } else if !ENGINES.contains(&engine.value.as_str()) {
            findings.add(&engine.place, format_args!("'{}' is no quantised engine; known: {known}", engine.value));
        }
    }
    Some(ModelKeys {
        name: name?,
        file: file?,
        runtime,
        engine,
        thread_count: thread_count.unwrap_or_else(|| Located { value: 1, place: default("threads") }),
        input_scale,
        input_offset,
    })
}

fn trace(mut keys: Keys<'_>, findings: &mut Findings) -> Option<TraceKeys> {
    let name = treatment_name(&mut keys, findings);
    let file = keys.required_string("file", "it names the recording", findings);
    keys.finish(findings);
    Some(TraceKeys { name: name?, file: file? })
}

fn treatment_name(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<Located<String>> {
    name_of(keys, TREATMENT_NAME_CHARACTERS_MAX, findings)
}

/// Takes the name of a table.
pub(super) fn name_of(keys: &mut Keys<'_>, characters_max: usize, findings: &mut Findings) -> Option<Located<String>> {
    let name = keys.required_string("name", "reports call the treatment by it", findings)?;
    if !is_line(&name.value, characters_max) {
        findings.add(
            &name.place,
            format_args!("must have 1 to {characters_max} characters, no space at its ends, all on one line"),
        );
    }
    Some(name)
}

/// Whether a text can stand in a table.
pub(super) fn is_line(text: &str, characters_max: usize) -> bool {
    (1..=characters_max).contains(&text.chars().count()) && text.trim() == text && !text.chars().any(char::is_control)
}

/// What executes a file of this name.
fn runtime_of(file: &str) -> Option<&'static str> {
    let (_, ending) = file.rsplit_once('.')?;
    RUNTIME_FILES.iter().find(|(_, known)| *known == ending).map(|(runtime, _)| *runtime)
}

/// Two treatments of one name could not be told apart in a report.
fn check_names(
    models: &[Option<ModelKeys>],
    traces: &[Option<TraceKeys>],
    entries: &[Entry<ArchitectureKey>],
    findings: &mut Findings,
) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut check = |name: String, place: &Place| {
        if let Some(line) = seen.get(&name) {
            findings.add(place, format_args!("the name '{name}' is taken, see line {line}; give each its own"));
        } else {
            seen.insert(name, place.line);
        }
    };
    for model in models.iter().flatten() {
        check(model.name.value.clone(), &model.name.place);
    }
    for trace in traces.iter().flatten() {
        check(trace.name.value.clone(), &trace.name.place);
    }
    for entry in entries {
        let taken_by = entries.iter().find(|other| other.name.value == entry.name.value);
        if taken_by.is_some_and(|other| other.name.place.line < entry.name.place.line) {
            // One problem for all of its treatments.
            check(format!("{}: train", entry.name.value), &entry.name.place);
            continue;
        }
        for name in training::treatment_names(entry) {
            check(name, &entry.name.place);
        }
    }
}
