//! What a job told of itself, read with suspicion; and its parts with their energies.
//!
//! The agent checks a result file before it hands it on. It is read here as if nobody had: what a trainer writes is
//! the world's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tinywatt_proto::card::ModelCard;
use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;

use super::rail::{self, Rail};
use super::{inputs, reason, window};
use crate::artifacts::Artifacts;
use crate::card;
use crate::result::{Epoch, InvalidReason, JobArtifact, JobPhase, JobResult, ModelFile, WindowResult};
use crate::tflite;

/// Name and version of the result file's layout.
const SCHEMA: &str = "tinywatt.result.v1";

/// Classes of a confusion matrix: as many as an inference may have.
const CLASS_COUNT_MAX: usize = 1_000;

/// Epochs kept: more than anybody trains on a small device's model.
const EPOCH_COUNT_MAX: usize = 10_000;

/// Notes kept, and characters of each: a page of a report.
const NOTE_COUNT_MAX: usize = 32;
const NOTE_CHARACTERS_MAX: usize = 500;

/// Characters of a name: a framework, a version, a file.
const NAME_CHARACTERS_MAX: usize = 128;

/// Inputs that a job may say it evaluated: sums and products of scores over replicates stay exact.
const INPUT_COUNT_MAX: u64 = 1 << 40;

/// Artifacts of one job.
const ARTIFACT_COUNT_MAX: usize = 256;

/// Largest model file that is looked into; it is held in memory for that. Models of small devices are a hundredth of it.
const MODEL_BYTES_MAX: u64 = 256 << 20;

/// What a job told, without its windows.
#[derive(Debug)]
pub(super) struct Told {
    kind: &'static str,
    file: ResultFile,
    memory_bytes_peak: u64,
    artifacts: Vec<JobArtifact>,
    notes: Vec<String>,
}

/// The result file, as far as it is needed here. Its artifacts and phases come with the outcome, checked by the agent.
#[derive(Debug, Deserialize)]
struct ResultFile {
    schema: String,
    framework: Option<Framework>,
    parameter_count: Option<u64>,
    mac_count: Option<u64>,
    #[serde(default)]
    confusion: Option<Vec<Vec<u64>>>,
    #[serde(default)]
    epochs: Option<Vec<Epoch>>,
    memory_bytes_peak: Option<u64>,
    grid_intensity_g_per_kwh: Option<f64>,
    #[serde(default)]
    notes: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Framework {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

/// Reads what a job told, and looks into the models that it made.
pub(super) async fn read(
    artifacts: &Artifacts,
    workload: &v1::JobWorkload,
    summary: &v1::JobSummary,
) -> Result<Told, InvalidReason> {
    let mut told = parse(workload.kind(), summary)?;
    told.check_count(artifacts, workload).await?;
    for artifact in &mut told.artifacts {
        let sha256 = artifact.sha256.parse::<Sha256>().ok();
        let path = sha256.map(|sha256| artifacts.path(sha256)).filter(|path| path.is_file());
        let Some(path) = path else {
            let name = &artifact.name;
            let message = format!("the agent names '{name}' among what the job made, and it never arrived here");
            return Err(reason("artifact_missing", message));
        };
        // The file is here: its size is what it has, not what was said of it.
        let file_bytes = std::fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
        if file_bytes != artifact.file_bytes {
            let message =
                format!("'{}' has {file_bytes} bytes, and the agent says {}", artifact.name, artifact.file_bytes);
            return Err(reason("unreadable", message));
        }
        if artifact.role == "model" {
            let made = artifact.clone();
            let looked = tokio::task::spawn_blocking(move || look(&made, &path)).await;
            let looked = looked.unwrap_or_else(|_| Err("the file could not be looked into".to_owned()));
            artifact.model = Some(looked.unwrap_or_else(|problem| {
                told.notes.push(text(&format!("{}: {problem}", artifact.name), NOTE_CHARACTERS_MAX));
                unknown(artifact)
            }));
        }
    }
    Ok(told)
}

/// What a model's file tells; only kinds of files that tell something are looked into.
fn look(made: &JobArtifact, path: &Path) -> Result<ModelFile, String> {
    let unreadable = |error: std::io::Error| format!("it could not be read: {error}");
    match Path::new(&made.name).extension().and_then(OsStr::to_str) {
        Some("tflite") if made.file_bytes <= MODEL_BYTES_MAX => {
            let bytes = std::fs::read(path).map_err(unreadable)?;
            let tflite::Model { precision, parameter_count, mac_count, .. } =
                tflite::Model::read(&bytes).map_err(|error| Chain(&error).to_string())?;
            Ok(ModelFile { precision: precision.to_string(), parameter_count, mac_count, ..unknown(made) })
        }
        Some("pt") => {
            let file = BufReader::new(File::open(path).map_err(unreadable)?);
            let card = card::read(file).map_err(|error| Chain(&error).to_string())?;
            let ModelCard { parameter_count, mac_count, .. } = card;
            Ok(ModelFile { precision: card::number_format(&card), parameter_count, mac_count, ..unknown(made) })
        }
        _ => Ok(unknown(made)),
    }
}

/// A model of which nothing but its file is known.
fn unknown(made: &JobArtifact) -> ModelFile {
    ModelFile {
        sha256: made.sha256.clone(),
        file_bytes: made.file_bytes,
        precision: String::new(),
        parameter_count: None,
        mac_count: None,
    }
}

fn unreadable(problem: String) -> InvalidReason {
    reason("unreadable", format!("the job's result: {problem}"))
}

/// Checks everything that needs no file.
pub(super) fn parse(expected: v1::JobKind, summary: &v1::JobSummary) -> Result<Told, InvalidReason> {
    if summary.kind() != expected {
        return Err(unreadable(format!("it is of a job of kind {}, not {}", word(summary.kind()), word(expected))));
    }
    let file: ResultFile = serde_json::from_str(&summary.result_json).map_err(|error| unreadable(error.to_string()))?;
    if file.schema != SCHEMA {
        let found = text(&file.schema, NAME_CHARACTERS_MAX);
        return Err(unreadable(format!("its schema is '{found}', and only '{SCHEMA}' is known")));
    }
    let rows = file.confusion.as_deref().unwrap_or_default();
    if rows.len() > CLASS_COUNT_MAX || rows.iter().any(|row| row.len() != rows.len()) {
        let count = rows.len();
        return Err(unreadable(format!(
            "its confusion matrix of {count} rows is not square, or has more than {CLASS_COUNT_MAX} classes"
        )));
    }
    let counted = rows.iter().flatten().try_fold(0u64, |sum, count| sum.checked_add(*count));
    let counted = counted.filter(|counted| *counted <= INPUT_COUNT_MAX);
    if counted.is_none() || (counted == Some(0) && !rows.is_empty()) {
        return Err(unreadable("its confusion matrix counts no inputs, or too many".to_owned()));
    }
    if summary.artifacts.len() > ARTIFACT_COUNT_MAX {
        return Err(unreadable(format!("it names more than {ARTIFACT_COUNT_MAX} artifacts")));
    }
    let log = summary.log.iter().map(|log| ("log", log));
    let made = summary.artifacts.iter().filter_map(|made| Some((made.role.as_str(), made.artifact.as_ref()?)));
    let artifact = |(role, artifact): (&str, &v1::ArtifactRef)| {
        let sha256 = Sha256::from_bytes(&artifact.sha256)
            .ok_or_else(|| unreadable(format!("'{}' is not named by a SHA-256", artifact.name)))?;
        Ok(JobArtifact {
            role: text(role, NAME_CHARACTERS_MAX),
            name: text(&artifact.name, NAME_CHARACTERS_MAX),
            sha256: sha256.to_string(),
            file_bytes: artifact.size_bytes,
            model: None,
        })
    };
    let artifacts = made.chain(log).map(artifact).collect::<Result<Vec<_>, InvalidReason>>()?;
    let mut told = Told {
        kind: word(summary.kind()),
        memory_bytes_peak: summary.memory_bytes_peak.max(file.memory_bytes_peak.unwrap_or(0)),
        file,
        artifacts,
        notes: Vec::new(),
    };
    told.shorten();
    Ok(told)
}

impl Told {
    /// Holds the confusion matrix against the labels of the inputs that the job was to test with.
    async fn check_count(&mut self, artifacts: &Artifacts, workload: &v1::JobWorkload) -> Result<(), InvalidReason> {
        let confusion = self.file.confusion.as_deref().filter(|rows| !rows.is_empty());
        let (Some(confusion), Some(test)) = (confusion, inputs::test(workload)) else { return Ok(()) };
        match inputs::labels(artifacts, test).await {
            Ok(labels) => match inputs::miscount(confusion, &labels) {
                Some(problem) => Err(unreadable(problem)),
                None => Ok(()),
            },
            Err(why) => {
                self.notes.push(format!("the confusion matrix was not held against the test inputs: {why}"));
                Ok(())
            }
        }
    }

    /// Leaves out what no report could show, and notes that it did.
    fn shorten(&mut self) {
        let Self { file, notes, .. } = self;
        let epochs = file.epochs.get_or_insert_default();
        if epochs.len() > EPOCH_COUNT_MAX {
            notes.push(format!("of {} epochs the first {EPOCH_COUNT_MAX} were kept", epochs.len()));
            epochs.truncate(EPOCH_COUNT_MAX);
        }
        let is_part = |value: &f64| (0.0..=1.0).contains(value);
        let mut odd_count = 0u32;
        for accuracy in epochs.iter_mut().flat_map(|epoch| [&mut epoch.train_accuracy, &mut epoch.validation_accuracy])
        {
            if accuracy.take_if(|accuracy| !is_part(accuracy)).is_some() {
                odd_count += 1;
            }
        }
        if odd_count > 0 {
            notes.push(format!("{odd_count} accuracies of epochs were left out: they are not between 0 and 1"));
        }
        if let Some(intensity) = file.grid_intensity_g_per_kwh.take_if(|intensity| *intensity <= 0.0) {
            notes.push(format!("a grid intensity of {intensity} g/kWh was left out: it is not above 0"));
        }
        let own = file.notes.take().unwrap_or_default();
        let dropped_count = own.len().saturating_sub(NOTE_COUNT_MAX);
        let mut kept: Vec<_> =
            own.into_iter().take(NOTE_COUNT_MAX).map(|note| text(&note, NOTE_CHARACTERS_MAX)).collect();
        if dropped_count > 0 {
            kept.push(format!("{dropped_count} more notes were left out"));
        }
        notes.splice(0..0, kept);
    }
}

/// The whole of a job: what it told, and what its windows took.
pub(super) fn result(
    told: Told,
    completed: &v1::Completed,
    rails: &[Rail],
    whole: &WindowResult,
    index: usize,
) -> JobResult {
    let Told { kind, file, memory_bytes_peak, artifacts, notes } = told;
    let framework = file.framework.unwrap_or_default();
    let mut phases: Vec<(u64, JobPhase)> = Vec::new();
    let parts = completed.windows.iter().filter_map(|wire| Some((wire, window::part(wire)?)));
    for (part, (wire, phase)) in parts.enumerate() {
        let energy = rail::part(rails, part);
        let phase = JobPhase {
            phase: phase.to_owned(),
            duration_seconds: seconds(wire.start_mono_ns, wire.end_mono_ns),
            energy_joules: energy.as_ref().ok().copied(),
            energy_joules_above_idle: energy.is_ok().then(|| rail::part_above_idle(rails, part)).flatten(),
            refusal_code: energy.as_ref().err().map(|why| why.code.clone()),
            refusal: energy.err().map(|why| why.message),
        };
        phases.push((wire.start_mono_ns, phase));
    }
    phases.sort_by_key(|(start, _)| *start);
    JobResult {
        kind: kind.to_owned(),
        framework: text(&framework.name, NAME_CHARACTERS_MAX),
        framework_version: text(&framework.version, NAME_CHARACTERS_MAX),
        duration_seconds: seconds(whole.start_mono_ns, whole.end_mono_ns),
        energy_joules: whole.energy_joules,
        energy_joules_above_idle: rail::above_idle(rails, index),
        above_idle_refusal: rail::above_idle_refusal(rails),
        phases: phases.into_iter().map(|(_, phase)| phase).collect(),
        parameter_count: file.parameter_count,
        mac_count: file.mac_count,
        confusion: file.confusion.unwrap_or_default(),
        memory_bytes_peak,
        epochs: file.epochs.unwrap_or_default(),
        artifacts,
        grid_intensity_g_per_kwh: file.grid_intensity_g_per_kwh,
        notes,
    }
}

fn seconds(start_ns: u64, end_ns: u64) -> f64 {
    Duration::from_nanos(end_ns.saturating_sub(start_ns)).as_secs_f64()
}

fn word(kind: v1::JobKind) -> &'static str {
    match kind {
        v1::JobKind::Unspecified => "unknown",
        v1::JobKind::Train => "train",
        v1::JobKind::Optimise => "optimise",
        v1::JobKind::Build => "build",
    }
}

/// A text of the world as one line of bounded length.
fn text(text: &str, characters_max: usize) -> String {
    let line: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let line = line.trim();
    if line.chars().count() <= characters_max {
        return line.to_owned();
    }
    line.chars().take(characters_max).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::inputs::{Encoding, InputSet};

    use super::*;

    fn summary(result_json: &str) -> v1::JobSummary {
        v1::JobSummary {
            kind: v1::JobKind::Train.into(),
            result_json: result_json.to_owned(),
            memory_bytes_peak: 5,
            ..Default::default()
        }
    }

    fn refusal(result_json: &str) -> String {
        parse(v1::JobKind::Train, &summary(result_json)).expect_err("it is refused").message
    }

    #[test]
    fn a_result_file_is_read() {
        let json = r#"{"schema":"tinywatt.result.v1","framework":{"name":"torch","version":"2.9"},"artifacts":[],
            "parameter_count":78666,"confusion":[[3,1],[0,4]],"memory_bytes_peak":9,"unknown":{},
            "epochs":[{"epoch":1,"train_loss":1.5,"train_accuracy":0.5}],"notes":["a note"],"mac_count":null}"#;
        let told = parse(v1::JobKind::Train, &summary(json)).expect("a good result");
        assert_eq!((told.kind, told.memory_bytes_peak, told.file.parameter_count), ("train", 9, Some(78_666)));
        assert_eq!((told.file.mac_count, told.notes.as_slice()), (None, ["a note".to_owned()].as_slice()));
        let least =
            parse(v1::JobKind::Train, &summary(r#"{"schema":"tinywatt.result.v1"}"#)).expect("all else may lack");
        assert_eq!(least.memory_bytes_peak, 5);
    }

    #[test]
    fn garbage_is_refused_with_what_is_wrong() {
        assert!(refusal("").contains("EOF"), "{}", refusal(""));
        assert!(refusal("[]").contains("the job's result"));
        assert!(refusal(r#"{"schema":"tinywatt.result.v2"}"#).contains("'tinywatt.result.v2'"));
        let matrix = |matrix: &str| refusal(&format!(r#"{{"schema":"tinywatt.result.v1","confusion":{matrix}}}"#));
        assert!(matrix("[[1,2],[3]]").contains("not square"));
        assert!(matrix("[[0]]").contains("counts no inputs"));
        assert!(matrix("[[-1]]").contains("invalid value"));
        assert!(matrix("[[18446744073709551615,1],[0,0]]").contains("too many"));
        let other = v1::JobSummary { kind: v1::JobKind::Build.into(), ..summary("{}") };
        assert!(parse(v1::JobKind::Train, &other).expect_err("refused").message.contains("kind build, not train"));
    }

    #[test]
    fn what_no_report_could_show_is_left_out_and_noted() {
        let notes: Vec<String> = (0..40).map(|index| format!("\"note {index}\\n\"")).collect();
        let json = format!(
            r#"{{"schema":"tinywatt.result.v1","grid_intensity_g_per_kwh":-3,"notes":[{}],
            "epochs":[{{"epoch":1,"train_accuracy":1.5,"validation_accuracy":0.5}}]}}"#,
            notes.join(",")
        );
        let told = parse(v1::JobKind::Train, &summary(&json)).expect("still a result");
        assert_eq!(told.notes.len(), NOTE_COUNT_MAX + 3, "{:?}", told.notes);
        assert_eq!(told.notes[0], "note 0");
        assert_eq!(told.notes[NOTE_COUNT_MAX], "8 more notes were left out");
        let epochs = told.file.epochs.expect("kept");
        assert_eq!((epochs[0].train_accuracy, epochs[0].validation_accuracy), (None, Some(0.5)));
        assert_eq!(told.file.grid_intensity_g_per_kwh, None);
        assert_eq!(text(&"ä".repeat(600), 500).chars().count(), 501);
    }

    #[tokio::test]
    async fn an_artifact_that_never_arrived_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::in_store(folder.path()).expect("a place");
        let content = b"not a model";
        let sha256 = Sha256::of(content);
        let made = v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes: 11, name: "model.tflite".to_owned() };
        let made = v1::JobArtifact { role: "model".to_owned(), artifact: Some(made) };
        let summary = v1::JobSummary { artifacts: vec![made], ..summary(r#"{"schema":"tinywatt.result.v1"}"#) };
        let workload = v1::JobWorkload { kind: v1::JobKind::Train.into(), ..Default::default() };
        let missing = read(&artifacts, &workload, &summary).await.expect_err("it is not there");
        assert!(missing.code == "artifact_missing" && missing.message.contains("'model.tflite'"), "{missing}");
        let chunks = tokio_stream::once(Ok::<_, std::convert::Infallible>(content.to_vec()));
        artifacts.put(sha256, 11, chunks).await.expect("kept");
        let told = read(&artifacts, &workload, &summary).await.expect("it is there");
        let model = told.artifacts[0].model.as_ref().expect("a model's file");
        assert_eq!((model.precision.as_str(), model.file_bytes), ("", 11));
        assert!(told.notes[0].contains("model.tflite: byte 4: not a .tflite model"), "{:?}", told.notes);
    }

    #[tokio::test]
    async fn a_matrix_of_the_first_test_inputs_alone_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::in_store(folder.path()).expect("a place");
        let set = InputSet::new(Encoding::Plain, 2, vec![1], vec![0, 1, 0, 0], vec![0; 4]).expect("a set").to_bytes();
        let sha256 = Sha256::of(&set);
        let reference =
            v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes: set.len() as u64, ..Default::default() };
        let test = v1::JobInput { name: "test".to_owned(), source: Some(v1::job_input::Source::Artifact(reference)) };
        let workload = v1::JobWorkload { kind: v1::JobKind::Train.into(), inputs: vec![test], ..Default::default() };
        let told = |matrix: &str| {
            let summary = summary(&format!(r#"{{"schema":"tinywatt.result.v1","confusion":{matrix}}}"#));
            let (artifacts, workload) = (&artifacts, &workload);
            async move { read(artifacts, workload, &summary).await }
        };
        let unchecked = told("[[1,0],[0,1]]").await.expect("the set is not here");
        assert!(unchecked.notes[0].contains("was not held against the test inputs: they could not be read"));
        let size = set.len() as u64;
        artifacts.put(sha256, size, tokio_stream::once(Ok::<_, std::convert::Infallible>(set))).await.expect("kept");
        let why = told("[[1,0],[0,1]]").await.expect_err("two of four");
        let message = "the job's result: its confusion matrix counts 2 inputs, and there are 4 to test with";
        assert_eq!((why.code.as_str(), why.message.as_str()), ("unreadable", message));
        assert!(told("[[2,1],[0,1]]").await.expect("all of them").notes.is_empty());
        assert!(told("null").await.expect("it did not evaluate").notes.is_empty());
    }

    #[test]
    fn a_module_is_known_by_its_card() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("artifact");
        let card = card::tests::card();
        std::fs::write(&path, card::tests::module(&card)).expect("writable");
        let made = |name: &str| JobArtifact {
            role: "model".to_owned(),
            name: name.to_owned(),
            sha256: String::new(),
            file_bytes: 9,
            model: None,
        };
        let model = look(&made("model.pt"), &path).expect("it has a card");
        assert_eq!((model.precision.as_str(), model.parameter_count), ("full-integer-float-io", Some(7_000)));
        assert_eq!((model.mac_count, model.file_bytes), (None, 9));
        let other = look(&made("model.pte"), &path).expect("nobody looks into it");
        assert_eq!((other.precision.as_str(), other.parameter_count), ("", None));
        std::fs::write(&path, "notes").expect("writable");
        assert!(look(&made("model.pt"), &path).expect_err("no module").contains("not a TorchScript module"));
    }
}
