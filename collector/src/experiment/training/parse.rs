//! `[training]` and `[[train]]` into checked values, without looking at any file.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};
use tinywatt_proto::ids::ChannelName;
use tinywatt_proto::v1;

use super::super::carbon;
use super::super::keys::Keys;
use super::super::parse::{RUNTIMES, THREAD_COUNT_MAX, WINDOW_MAX, is_line, name_of, parsed};
use super::super::problem::{Findings, Located, Place};
use super::technique::{FLOAT32, technique};
use super::trainer::NAMES;
use super::{ArchitectureKey, ENGINES, Entry, Technique, Trainer, Training};

/// Names of entries stand before their techniques in the names of treatments.
const NAME_CHARACTERS_MAX: usize = 32;
const IDLE_DEFAULT: Duration = Duration::from_secs(5);
const TIME_LIMIT_DEFAULT: Duration = Duration::from_secs(3_600);
/// Two weeks: longer limits are slips of the unit.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(14 * 86_400);
const OUTPUT_BYTES_DEFAULT: u64 = 2 << 30;
const OUTPUT_BYTES_MAX: u64 = 1 << 40;
const EPOCH_COUNT_MAX: u32 = 100_000;
const BATCH_SIZE_DEFAULT: u32 = 64;
const BATCH_SIZE_MAX: u32 = 1_000_000;
const LEARNING_RATE_DEFAULT: f64 = 1e-3;
/// Fine-tuning starts near a minimum.
const FINE_TUNE_LEARNING_RATE_DEFAULT: f64 = 1e-4;
/// A few hundred training inputs give the ranges of activations; more change nothing.
const CALIBRATION_COUNT_DEFAULT: u32 = 300;
/// Keys of a job's configuration that the collector writes itself.
const RESERVED: [&str; 5] = ["architecture", "teacher", "technique", "input_scale", "input_offset"];

/// Reads `[training]`; `None` when wrong and noted.
pub(in super::super) fn training(mut keys: Keys<'_>, findings: &mut Findings) -> Option<Training> {
    carbon::refuse_second(&mut keys, findings);
    let node = keys.required_string("node", "it names the node that trains, as `collector nodes` lists it", findings);
    let node = node.and_then(|node| parsed(node, findings));
    let channel: Option<Located<ChannelName>> =
        keys.string("channel", findings).and_then(|channel| parsed(channel, findings));
    let further = keys.strings("further_channels", findings).map(|names| names.value).unwrap_or_default();
    let further_channels: Vec<Located<ChannelName>> =
        further.into_iter().filter_map(|name| parsed(name, findings)).collect();
    if let (None, Some(further)) = (&channel, further_channels.first()) {
        findings.add(&further.place, "needs channel = \"…\" beside it, which names the first one");
    }
    let mut seen: BTreeSet<&str> = channel.iter().map(|channel| channel.value.as_str()).collect();
    for further in &further_channels {
        if !seen.insert(further.value.as_str()) {
            findings.add(&further.place, format_args!("'{}' is named twice and would be added twice", further.value));
        }
    }
    let device = keys.string("device", findings);
    let default = |key: &str, keys: &Keys<'_>| keys.place_of(key);
    let device = match &device {
        None => Located { value: v1::JobDevice::Cpu, place: default("device", &keys) },
        Some(text) => {
            let value = match text.value.as_str() {
                "cpu" => v1::JobDevice::Cpu,
                "gpu" => v1::JobDevice::Gpu,
                other => {
                    findings.add(&text.place, format_args!("'{other}' is no device; known: cpu, gpu"));
                    v1::JobDevice::Cpu
                }
            };
            Located { value, place: text.place.clone() }
        }
    };
    let thread_count = keys.count("threads", 1..=THREAD_COUNT_MAX, findings);
    let idle = keys.duration("idle", Duration::from_millis(1)..=WINDOW_MAX, findings);
    let time_limit = keys.duration("time_limit", Duration::from_secs(1)..=TIME_LIMIT_MAX, findings);
    let output_bytes_max = keys.bytes("output_max", (1 << 20)..=OUTPUT_BYTES_MAX, findings);
    let input_scale = keys.number("input_scale", findings);
    let input_offset = keys.number("input_offset", findings);
    if let Some(scale) = input_scale.as_ref().filter(|scale| scale.value == 0.0) {
        findings.add(&scale.place, "a scale of 0 makes all inputs alike");
    }
    let thread_count = thread_count.unwrap_or_else(|| Located { value: 1, place: default("threads", &keys) });
    let idle = idle.unwrap_or_else(|| Located { value: IDLE_DEFAULT, place: default("idle", &keys) });
    keys.finish(findings);
    Some(Training {
        node: node?,
        channel,
        further_channels,
        device,
        thread_count,
        idle,
        time_limit: time_limit.map_or(TIME_LIMIT_DEFAULT, |limit| limit.value),
        output_bytes_max: output_bytes_max.map_or(OUTPUT_BYTES_DEFAULT, |bytes| bytes.value),
        input_scale: input_scale.map(|scale| scale.value),
        input_offset: input_offset.map(|offset| offset.value),
    })
}

/// Reads one `[[train]]`; `None` when wrong and noted.
pub(in super::super) fn entry(mut keys: Keys<'_>, findings: &mut Findings) -> Option<Entry<ArchitectureKey>> {
    carbon::refuse_second(&mut keys, findings);
    let name = name_of(&mut keys, NAME_CHARACTERS_MAX, findings);
    let trainer = trainer(&mut keys, name.as_ref(), findings);
    let architecture = architecture(&mut keys, trainer.as_ref(), findings);
    let teacher = keys.string("teacher", findings);
    let hyper = hyper(&mut keys, trainer.as_ref(), findings);
    let runtime = keys.string("runtime", findings);
    let techniques = keys.strings("techniques", findings);
    let thread_count = keys.count("threads", 1..=THREAD_COUNT_MAX, findings);
    let thread_count = thread_count.unwrap_or_else(|| Located { value: 1, place: keys.place_of("threads") });
    let config = keys.table("config", findings).map(|keys| free(keys, &hyper, findings)).unwrap_or_default();
    let optimise = keys.table("optimise", findings);
    let (optimise, engine) = match &trainer {
        Some(trainer) => self::optimise(optimise, trainer, &hyper, findings),
        None => (Map::new(), None),
    };
    let default_place = keys.place_of("techniques");
    keys.finish(findings);
    let trainer = trainer?;
    if let Some(teacher) = teacher.as_ref().filter(|_| trainer == Trainer::Tch) {
        findings.add(&teacher.place, "tch does not distil; use keras or torch");
    }
    let runtime = runtime.filter(|runtime| known_runtime(runtime, &trainer, findings));
    let runtime = runtime.map_or_else(|| RUNTIMES[0].to_owned(), |runtime| runtime.value);
    let mut techniques = self::techniques(techniques, default_place, &trainer, &runtime, findings);
    for technique in &mut techniques {
        if let Some(engine) = engine.as_ref().filter(|_| technique.value.has_engine_to_choose()) {
            technique.value.engine.clone_from(engine);
        }
    }
    let mut hyper = hyper;
    hyper.extend(config);
    Some(Entry { name: name?, architecture, teacher, techniques, thread_count, config: hyper, optimise, trainer })
}

fn trainer(keys: &mut Keys<'_>, name: Option<&Located<String>>, findings: &mut Findings) -> Option<Trainer> {
    let trainer = keys.string("trainer", findings);
    let is_own = keys.has("command");
    let command = command(keys, "command", findings);
    let prepare = command_or_none(keys, "prepare", findings);
    let optimise = keys.has("optimise_command").then(|| self::command(keys, "optimise_command", findings));
    let framework = keys.string("framework", findings);
    let known = NAMES.join(", ");
    match (trainer, is_own) {
        (Some(trainer), true) => {
            findings.add(&trainer.place, "is there beside a command; leave one of them out");
            None
        }
        (None, false) => {
            findings.add(
                &keys.place_of("trainer"),
                format_args!("is missing; known: {known}, or name a command of your own with command = [\"…\"]"),
            );
            None
        }
        (Some(trainer), false) => {
            for key in ["prepare", "optimise_command", "framework", "runtime"] {
                if keys.has(key) {
                    let place = keys.place_of(key);
                    findings.add(&place, format_args!("is decided by trainer = \"{}\"; leave it out", trainer.value));
                }
            }
            let found = Trainer::from_name(&trainer.value);
            if found.is_none() {
                findings.add(
                    &trainer.place,
                    format_args!(
                        "'{}' is not a trainer; known: {known}, or name a command of your own with command = [\"…\"]",
                        trainer.value
                    ),
                );
            }
            found
        }
        (None, true) => {
            let named = framework.map(|framework| framework.value).or_else(|| name.map(|name| name.value.clone()));
            let optimise = match optimise {
                Some(optimise) => Some(optimise?),
                None => None,
            };
            Some(Trainer::Own { command: command?, prepare, optimise, framework: named.unwrap_or_default() })
        }
    }
}

fn command_or_none(keys: &mut Keys<'_>, key: &'static str, findings: &mut Findings) -> Vec<String> {
    if keys.has(key) { command(keys, key, findings).unwrap_or_default() } else { Vec::new() }
}

/// Takes a program with its arguments.
fn command(keys: &mut Keys<'_>, key: &'static str, findings: &mut Findings) -> Option<Vec<String>> {
    let Located { value: words, place } = keys.strings(key, findings)?;
    let words: Vec<String> = words.into_iter().map(|word| word.value).collect();
    let Some(program) = words.first().filter(|program| !program.is_empty()) else {
        findings.add(&place, "names no program; write it like [\"/opt/trainer/run\", \"--fast\"]");
        return None;
    };
    if program.contains('/') && !program.starts_with('/') {
        findings.add(
            &place,
            format_args!(
                "'{program}' is relative, and a job runs in a folder of its own; give its full path on the training \
                 node, or a name that is found there beside the agent or in PATH"
            ),
        );
    }
    if words.iter().any(|word| word.contains('\0')) {
        findings.add(&place, "holds a zero byte, which no argument can");
    }
    Some(words)
}

fn architecture(keys: &mut Keys<'_>, trainer: Option<&Trainer>, findings: &mut Findings) -> Option<ArchitectureKey> {
    let name = keys.string("architecture", findings);
    let file = keys.string("architecture_file", findings);
    match (name, file) {
        (Some(_), Some(file)) => {
            findings.add(&file.place, "is there beside architecture; leave one of them out");
            None
        }
        (Some(name), None) => Some(ArchitectureKey::Name(name)),
        (None, Some(file)) => Some(ArchitectureKey::File(file)),
        (None, None) => {
            let is_missing = !keys.has("architecture") && !keys.has("architecture_file");
            if trainer.is_some_and(Trainer::is_ours) && is_missing {
                findings.add(
                    &keys.place_of("architecture"),
                    "is missing; name one that is shipped, or a file of yours with architecture_file",
                );
            }
            None
        }
    }
}

/// What both configurations are built from: for our trainers with defaults, for others as far as it is there.
fn hyper(keys: &mut Keys<'_>, trainer: Option<&Trainer>, findings: &mut Findings) -> Map<String, Value> {
    let is_ours = trainer.is_some_and(Trainer::is_ours);
    if is_ours && !keys.has("epochs") {
        findings.add(&keys.place_of("epochs"), "is missing; it says how often the training inputs are gone through");
    }
    let epochs = keys.count("epochs", 1..=EPOCH_COUNT_MAX, findings).map(|epochs| epochs.value);
    let batch_size = keys.count("batch_size", 1..=BATCH_SIZE_MAX, findings).map(|size| size.value);
    let learning_rate = rate(keys, findings);
    let mut hyper = Map::new();
    set(&mut hyper, "epochs", epochs);
    set(&mut hyper, "batch_size", batch_size.or(is_ours.then_some(BATCH_SIZE_DEFAULT)));
    set(&mut hyper, "learning_rate", learning_rate.or(is_ours.then_some(LEARNING_RATE_DEFAULT)));
    hyper
}

fn rate(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<f64> {
    let rate = keys.number("learning_rate", findings)?;
    if rate.value <= 0.0 {
        findings.add(&rate.place, format_args!("must be above 0, and is {}", rate.value));
    }
    Some(rate.value)
}

/// What optimisation is told beside architecture, technique and scaling; and the engine where torch leaves the choice.
fn optimise(
    keys: Option<Keys<'_>>,
    trainer: &Trainer,
    hyper: &Map<String, Value>,
    findings: &mut Findings,
) -> (Map<String, Value>, Option<String>) {
    let mut optimise = Map::new();
    if trainer.is_ours() {
        set(&mut optimise, "calibration_count", Some(CALIBRATION_COUNT_DEFAULT));
        set(&mut optimise, "fine_tune_epochs", Some(1));
        set(&mut optimise, "batch_size", hyper.get("batch_size").cloned());
        set(&mut optimise, "learning_rate", Some(FINE_TUNE_LEARNING_RATE_DEFAULT));
    }
    let Some(mut keys) = keys else { return (optimise, None) };
    carbon::refuse_second(&mut keys, findings);
    let mut count = |key, max, findings: &mut Findings| keys.count(key, 1..=max, findings).map(|count| count.value);
    let calibration_count = count("calibration_count", 1_000_000, findings);
    let fine_tune_epochs = count("fine_tune_epochs", EPOCH_COUNT_MAX, findings);
    let batch_size = count("batch_size", BATCH_SIZE_MAX, findings);
    let cluster_count = keys.count("cluster_count", 2..=256, findings).map(|count| count.value);
    let sparsity = keys.number("sparsity", findings);
    if let Some(sparsity) = sparsity.as_ref().filter(|sparsity| !(0.0..=0.99).contains(&sparsity.value)) {
        findings.add(&sparsity.place, format_args!("must be from 0 to 0.99, and is {}", sparsity.value));
    }
    set(&mut optimise, "calibration_count", calibration_count);
    set(&mut optimise, "fine_tune_epochs", fine_tune_epochs);
    set(&mut optimise, "batch_size", batch_size);
    set(&mut optimise, "cluster_count", cluster_count);
    set(&mut optimise, "sparsity", sparsity.map(|sparsity| sparsity.value));
    set(&mut optimise, "learning_rate", rate(&mut keys, findings));
    let engine = if *trainer == Trainer::Torch { keys.string("engine", findings) } else { None };
    if let Some(engine) = engine.as_ref().filter(|engine| !ENGINES.contains(&engine.value.as_str())) {
        let known = ENGINES.join(", ");
        findings.add(&engine.place, format_args!("'{}' is no quantised engine; known: {known}", engine.value));
    }
    if trainer.is_ours() {
        keys.finish(findings);
    } else {
        optimise.extend(free(keys, &Map::new(), findings));
    }
    (optimise, engine.map(|engine| engine.value))
}

/// Configuration of the user's own words.
fn free(mut keys: Keys<'_>, taken: &Map<String, Value>, findings: &mut Findings) -> Map<String, Value> {
    carbon::refuse_second(&mut keys, findings);
    let mut map = Map::new();
    for entry in keys.rest(findings) {
        if RESERVED.contains(&entry.key.as_str()) || taken.contains_key(&entry.key) {
            findings.add(&entry.place, "is written by the collector itself; use its own key, outside of this table");
        } else {
            map.insert(entry.key, entry.value);
        }
    }
    map
}

fn set(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

fn known_runtime(runtime: &Located<String>, trainer: &Trainer, findings: &mut Findings) -> bool {
    let is_known = RUNTIMES.contains(&runtime.value.as_str());
    // Beside one of our trainers the key itself is refused.
    if !is_known && !trainer.is_ours() {
        let known = RUNTIMES.join(", ");
        findings.add(&runtime.place, format_args!("'{}' does not run models; known: {known}", runtime.value));
    }
    is_known
}

fn techniques(
    names: Option<Located<Vec<Located<String>>>>,
    default_place: Place,
    trainer: &Trainer,
    runtime: &str,
    findings: &mut Findings,
) -> Vec<Located<Technique>> {
    let default = || vec![Located { value: FLOAT32.to_owned(), place: default_place }];
    let names = names.map_or_else(default, |names| names.value);
    let mut techniques: Vec<Located<Technique>> = Vec::new();
    for name in names {
        if techniques.iter().any(|known| known.value.name == name.value) {
            findings.add(&name.place, format_args!("'{}' is named twice", name.value));
        } else if !is_line(&name.value, NAME_CHARACTERS_MAX) {
            let message =
                format!("must have 1 to {NAME_CHARACTERS_MAX} characters, no space at its ends, all on one line");
            findings.add(&name.place, message);
        } else {
            match technique(trainer, &name.value, runtime) {
                Ok(value) => techniques.push(Located { value, place: name.place }),
                Err(problem) => findings.add(&name.place, problem),
            }
        }
    }
    techniques
}

/// Checks what entries say of each other: their teachers.
pub(in super::super) fn check_entries(entries: &[Entry<ArchitectureKey>], findings: &mut Findings) {
    let find = |name: &str| entries.iter().find(|entry| entry.name.value == name);
    for entry in entries {
        let Some(teacher) = &entry.teacher else { continue };
        let Some(found) = find(&teacher.value) else {
            let known: Vec<&str> = entries.iter().map(|entry| entry.name.value.as_str()).collect();
            let known = known.join(", ");
            findings.add(
                &teacher.place,
                format_args!("'{}' is not a [[train]] of this file; it has {known}", teacher.value),
            );
            continue;
        };
        if entry.trainer.is_ours() && found.trainer.is_ours() && entry.trainer.name() != found.trainer.name() {
            findings.add(
                &teacher.place,
                format_args!(
                    "'{}' is trained by {}, whose checkpoints {} cannot read; use a teacher of the same trainer",
                    teacher.value,
                    found.trainer.name(),
                    entry.trainer.name()
                ),
            );
        }
        // As many steps as there are entries lead anywhere but out of a circle.
        let mut at = Some(found);
        for _ in 0..entries.len() {
            at = at.and_then(|entry| find(&entry.teacher.as_ref()?.value));
        }
        if at.is_some() {
            findings.add(&teacher.place, format_args!("'{}' learns, in the end, from its own pupils", teacher.value));
        }
    }
}
