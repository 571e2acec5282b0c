//! Reads the files that an experiment names and checks each, and the models against the data set.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use tinywatt_proto::card::ModelCard;
use tinywatt_proto::chain::Chain;

use super::parse::{DatasetKeys, Files, LITERT, ModelKeys, TORCHSCRIPT, TraceKeys};
use super::problem::{Findings, Located};
use super::training::{ArchitectureKey, ENGINES, Entry, Training, TrainingData};
use super::{Artifact, Fetch, LoadedDataset, LoadedModel, LoadedTrace, Trained, fit, recording, training_data};
use crate::card;
use crate::dataset::{self, Dataset, DatasetError, Request};
use crate::tflite::Model;

/// Everything that could be read.
pub(super) struct Loaded {
    pub(super) dataset: Option<LoadedDataset>,
    pub(super) models: Vec<LoadedModel>,
    pub(super) traces: Vec<LoadedTrace>,
    pub(super) trained: Option<Trained>,
}

/// Largest model or trace, bytes: it is held in memory here, and its runtime holds it on the node.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Reads all files; what cannot be read or does not fit is noted and left out.
pub(super) fn load(files: Files, folder: &Path, fetch: Fetch<'_>, findings: &mut Findings) -> Loaded {
    let Files { dataset: keys, models, traces, training, entries } = files;
    if entries.is_empty()
        && let Some(limit) = keys.iter().flat_map(|keys| keys.train_limit.iter().chain(&keys.validation_limit)).next()
    {
        findings.add(&limit.place, "limits what is trained on, and nothing is; leave it out, or add a [[train]]");
    }
    let is_learnt = !entries.is_empty();
    let (dataset, data) = match keys.and_then(|keys| Some((place(&keys, folder, fetch, findings)?, keys))) {
        Some((path, keys)) if is_learnt => training_data::load(keys, path, training.as_ref(), findings).unzip(),
        Some((path, keys)) => (dataset(keys, path, findings), None),
        None => (None, None),
    };
    let asked = dataset.as_ref().map(|loaded| &loaded.dataset);
    let models = models.into_iter().filter_map(|keys| model(keys, asked, folder, findings)).collect();
    let traces = traces.into_iter().filter_map(|keys| trace(keys, folder, findings)).collect();
    let trained = trained(training, data, entries, asked, folder, findings);
    Loaded { dataset, models, traces, trained }
}

/// Reads what entries name; `None` when there are none, or something else is missing, which is noted.
fn trained(
    training: Option<Training>,
    data: Option<TrainingData>,
    entries: Vec<Entry<ArchitectureKey>>,
    dataset: Option<&Dataset>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Trained> {
    let mut loaded = Vec::new();
    for entry in entries {
        let architecture = entry.architecture.as_ref().map(|key| key.load(&entry.trainer, dataset, folder, findings));
        let Entry { name, trainer, teacher, techniques, thread_count, config, optimise, .. } = entry;
        let architecture = architecture.flatten();
        loaded.push(Entry { name, trainer, architecture, teacher, techniques, thread_count, config, optimise });
    }
    if loaded.is_empty() {
        return None;
    }
    Some(Trained { training: training?, data: data?, entries: loaded })
}

/// Where the data set stands: as the experiment says, or where it was fetched to.
fn place(keys: &DatasetKeys, folder: &Path, fetch: Fetch<'_>, findings: &mut Findings) -> Option<PathBuf> {
    if let Some(path) = &keys.path {
        return Some(folder.join(&path.value));
    }
    if !keys.kind.has_path() {
        return Some(PathBuf::new());
    }
    // A long way, not worth going for an experiment that will be refused.
    if !findings.is_empty() {
        return None;
    }
    fetch(keys.kind).map_err(|problem| findings.add(&keys.place, problem)).ok()
}

fn dataset(keys: DatasetKeys, path: PathBuf, findings: &mut Findings) -> Option<LoadedDataset> {
    let limit = keys.limit.as_ref().map(|limit| limit.value);
    let request = Request { kind: keys.kind, path, limit, class_names: keys.class_names };
    match dataset::load(&request) {
        Ok(dataset) => {
            let artifact = training_data::artifact_of_test(&dataset.inputs, dataset.kind);
            Some(LoadedDataset { dataset, artifact })
        }
        Err(error) => {
            let limit = keys.limit.filter(|_| matches!(error, DatasetError::Limit { .. }));
            let place = limit.map(|limit| limit.place).or(keys.path.map(|path| path.place)).unwrap_or(keys.place);
            findings.add(&place, error);
            None
        }
    }
}

fn model(keys: ModelKeys, dataset: Option<&Dataset>, folder: &Path, findings: &mut Findings) -> Option<LoadedModel> {
    let ModelKeys { name, file, runtime, engine, thread_count, input_scale, input_offset } = keys;
    let (path, content) = content(&file, folder, findings)?;
    let told = match told(&runtime.value, &content) {
        Ok(told) => told,
        Err(problem) => {
            findings.add(&file.place, format_args!("{path}: {problem}"));
            return None;
        }
    };
    if let (Told::Module(card), Some(engine)) = (&told, &engine)
        && card.engine != engine.value
    {
        findings.add(
            &engine.place,
            format_args!(
                "{path} was made for the engine '{}', and answers wrongly under '{}'; leave it out, or quantise the model \
                 for that engine",
                card.engine, engine.value
            ),
        );
    }
    if let Some(dataset) = dataset {
        let misfits = match &told {
            Told::Tensors(model) => fit::misfits(model, dataset, &path),
            Told::Module(card) => fit::module_misfits(card, dataset, &path),
            Told::Nothing => Vec::new(),
        };
        for misfit in misfits {
            findings.add(&file.place, misfit);
        }
        if dataset.inputs.encoding() == tinywatt_proto::inputs::Encoding::Quantised {
            for key in input_scale.iter().chain(&input_offset) {
                findings.add(
                    &key.place,
                    format_args!(
                        "the inputs of '{}' are already quantised and are not scaled; leave it out",
                        dataset.kind
                    ),
                );
            }
        }
    }
    let (precision, parameter_count, mac_count) = match &told {
        Told::Tensors(model) => (model.precision.to_string(), model.parameter_count, model.mac_count),
        Told::Module(card) => (card::number_format(card), card.parameter_count, card.mac_count),
        Told::Nothing => (String::new(), None, None),
    };
    let of_file = match told {
        // "none" is no engine to ask for: nothing in the module is quantised.
        Told::Module(card) if ENGINES.contains(&card.engine.as_str()) => card.engine,
        _ => String::new(),
    };
    Some(LoadedModel {
        name: name.value,
        runtime,
        engine: engine.map_or(of_file, |engine| engine.value),
        thread_count,
        input_scale: input_scale.map(|scale| scale.value),
        input_offset: input_offset.map(|offset| offset.value),
        parameter_count,
        mac_count,
        precision,
        artifact: Artifact::new(file_name(&path), content),
    })
}

/// What a model's file tells of it.
enum Told {
    /// A `.tflite` file, everything.
    Tensors(Model),
    /// A TorchScript module, what is on its card.
    Module(ModelCard),
    /// Files of other runtimes are looked into by the runtime itself, on the node.
    Nothing,
}

fn told(runtime: &str, content: &[u8]) -> Result<Told, String> {
    match runtime {
        LITERT => {
            let model = Model::read(content).map_err(|error| format!("{error}; fetch or convert the model again"))?;
            Ok(Told::Tensors(model))
        }
        TORCHSCRIPT => {
            let card = card::read(Cursor::new(content)).map_err(|error| Chain(&error).to_string())?;
            Ok(Told::Module(card))
        }
        _ => Ok(Told::Nothing),
    }
}

fn trace(keys: TraceKeys, folder: &Path, findings: &mut Findings) -> Option<LoadedTrace> {
    let (path, content) = content(&keys.file, folder, findings)?;
    if let Err(problem) = recording::check(&content) {
        findings.add(&keys.file.place, format_args!("{path} {problem}"));
        return None;
    }
    Some(LoadedTrace { name: keys.name, artifact: Artifact::new(file_name(&path), content) })
}

/// The file's path for messages, and its content.
fn content(file: &Located<String>, folder: &Path, findings: &mut Findings) -> Option<(String, Vec<u8>)> {
    let path = folder.join(&file.value);
    let shown = path.display().to_string();
    match read_at_most(&path, FILE_BYTES_MAX) {
        Ok(content) => Some((shown, content)),
        Err(error) => {
            let message = format!("{shown} cannot be read: {error}; paths are relative to the experiment file");
            findings.add(&file.place, message);
            None
        }
    }
}

/// Reads a whole file, unless it is larger than `bytes_max`.
pub(super) fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        let message = format!("it is larger than {} MiB", bytes_max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}
