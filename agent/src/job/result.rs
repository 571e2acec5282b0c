//! A job's `result.json`: read once, checked whole, every problem told.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;

use super::folder::RESULT;
use super::plain::{self, NotPlain};
use super::{Folder, JobError};
use crate::link::artifacts::ARTIFACT_BYTES_MAX;

const SCHEMA: &str = "tinywatt.result.v1";

/// Largest result. It travels in one message of 4 MiB at most; a confusion matrix of 300 classes and a thousand epochs
/// stay well below.
const RESULT_BYTES_MAX: u64 = 1 << 20;

/// Most artifacts: a model and a checkpoint are usual.
const ARTIFACT_COUNT_MAX: usize = 16;

/// Most parts that a job may tell of its window.
const PHASE_COUNT_MAX: usize = 1_000;

/// Most problems told: whoever made the first twenty has enough to do.
const PROBLEM_COUNT_MAX: usize = 20;

const ROLE_BYTES_MAX: usize = 32;
const FILE_NAME_BYTES_MAX: usize = 255;
const WORD_BYTES_MAX: usize = 200;

/// The role that the log has in the collector.
const LOG_ROLE: &str = "log";

/// A result that can be used.
#[derive(Debug)]
pub(crate) struct JobOutput {
    /// The file, as the job wrote it.
    pub(crate) json: String,
    /// What it made.
    pub(crate) artifacts: Vec<Made>,
    /// Parts of the command's window, in order.
    pub(crate) phases: Vec<(v1::Phase, Window)>,
}

/// An artifact that is there.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) role: String,
    /// Plain name.
    pub(crate) name: String,
    file: File,
}

impl Made {
    /// A path of the very file that was checked, as long as this lives: its name may lead elsewhere by now.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

impl JobOutput {
    /// Reads the result of a command that worked in `window`.
    pub(crate) fn read(folder: &Folder, window: Window) -> Result<Self, JobError> {
        let json = read(folder)?;
        let value: Value = serde_json::from_str(&json)
            .map_err(|error| JobError::Result { problems: vec![format!("it is no JSON: {error}")] })?;
        let mut problems = Problems::default();
        let (mut artifacts, mut phases) = (Vec::new(), Vec::new());
        if let Value::Object(fields) = &value {
            check(&Fields::new("", fields), &mut problems);
            artifacts = check_artifacts(fields, folder, &mut problems);
            phases = check_phases(fields, window, &mut problems);
        } else {
            problems.add("it is no JSON object");
        }
        problems.none()?;
        Ok(Self { json, artifacts, phases })
    }
}

fn read(folder: &Folder) -> Result<String, JobError> {
    let wrong = |problem: String| JobError::Result { problems: vec![problem] };
    let file = match plain::open_file(folder.dir(), Path::new(RESULT)) {
        Ok(file) => file,
        Err(NotPlain::Missing) => {
            let is_part_left = folder.result().with_extension("json.part").exists();
            return Err(JobError::NoResult { is_part_left });
        }
        Err(error) => return Err(wrong(format!("it {error}"))),
    };
    let mut bytes = Vec::new();
    let read = file.take(RESULT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    if bytes.len() as u64 > RESULT_BYTES_MAX {
        return Err(wrong(format!("it is larger than {RESULT_BYTES_MAX} bytes: large things are artifacts")));
    }
    String::from_utf8(bytes).map_err(|error| wrong(format!("it is not UTF-8: {}", error.utf8_error())))
}

/// The fields that need nothing but themselves.
fn check(fields: &Fields, problems: &mut Problems) {
    fields.known(
        &[
            "schema",
            "framework",
            "artifacts",
            "phases",
            "parameter_count",
            "mac_count",
            "confusion",
            "epochs",
            "memory_bytes_peak",
            "grid_intensity_g_per_kwh",
            "notes",
        ],
        problems,
    );
    match fields.get("schema") {
        Some(Value::String(schema)) if schema == SCHEMA => {}
        Some(other) => problems.add(format!("schema is {}, and must be \"{SCHEMA}\"", short(other))),
        None => problems.add(format!("schema is missing, and must be \"{SCHEMA}\"")),
    }
    match fields.get("framework") {
        Some(Value::Object(framework)) => {
            let framework = Fields::new("framework.", framework);
            framework.known(&["name", "version"], problems);
            framework.word("name", problems);
            framework.word("version", problems);
        }
        other => problems.kind("framework", other, "an object with name and version"),
    }
    for name in ["parameter_count", "mac_count", "memory_bytes_peak"] {
        fields.whole(name, problems);
    }
    fields.number("grid_intensity_g_per_kwh", |value| value > 0.0, "a number above 0", problems);
    check_confusion(fields.get("confusion"), problems);
    check_epochs(fields.get("epochs"), problems);
    match fields.get("notes") {
        None => {}
        Some(Value::Array(notes)) if notes.iter().all(Value::is_string) => {}
        other => problems.kind("notes", other, "a list of texts"),
    }
}

fn check_confusion(confusion: Option<&Value>, problems: &mut Problems) {
    let rows = match confusion {
        None => return,
        Some(Value::Array(rows)) => rows,
        other => return problems.kind("confusion", other, "a square list of lists of counts"),
    };
    for (index, row) in rows.iter().enumerate() {
        let is_row = row.as_array().is_some_and(|row| row.len() == rows.len() && row.iter().all(Value::is_u64));
        if !is_row {
            let class_count = rows.len();
            problems.add(format!("confusion[{index}] must be a list of {class_count} counts, one for each class"));
        }
    }
}

fn check_epochs(epochs: Option<&Value>, problems: &mut Problems) {
    let epochs = match epochs {
        None => return,
        Some(Value::Array(epochs)) => epochs,
        other => return problems.kind("epochs", other, "a list of objects"),
    };
    let mut before = 0;
    for (index, epoch) in epochs.iter().enumerate() {
        let place = format!("epochs[{index}]");
        let Value::Object(epoch) = epoch else {
            problems.kind(&place, Some(epoch), "an object");
            continue;
        };
        let place = format!("{place}.");
        let fields = Fields::new(&place, epoch);
        fields.known(&["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"], problems);
        match fields.get("epoch").and_then(Value::as_u64).filter(|epoch| u32::try_from(*epoch).is_ok()) {
            Some(number) if number > before => before = number,
            _ => problems.add(format!("{place}epoch must be a whole number, from 1 on and ascending")),
        }
        for name in ["train_loss", "validation_loss"] {
            fields.number(name, |_| true, "a number", problems);
        }
        for name in ["train_accuracy", "validation_accuracy"] {
            fields.number(name, |value| (0.0..=1.0).contains(&value), "a number from 0 to 1", problems);
        }
    }
}

fn check_artifacts(fields: &Map<String, Value>, folder: &Folder, problems: &mut Problems) -> Vec<Made> {
    let artifacts = match fields.get("artifacts") {
        Some(Value::Array(artifacts)) => artifacts,
        other => {
            problems.kind("artifacts", other, "a list, which may be empty");
            return Vec::new();
        }
    };
    if artifacts.len() > ARTIFACT_COUNT_MAX {
        problems.add(format!("artifacts has {} entries, and may have {ARTIFACT_COUNT_MAX}", artifacts.len()));
        return Vec::new();
    }
    if artifacts.is_empty() {
        return Vec::new();
    }
    let output = match folder.output() {
        Ok(output) => output,
        Err(error) => {
            problems.add(format!("artifacts are taken from output_dir alone, and that {error}"));
            return Vec::new();
        }
    };
    let (mut all, mut roles) = (Vec::new(), BTreeSet::new());
    for (index, artifact) in artifacts.iter().enumerate() {
        let place = format!("artifacts[{index}]");
        let Value::Object(artifact) = artifact else {
            problems.kind(&place, Some(artifact), "an object with role and file");
            continue;
        };
        let place = format!("{place}.");
        let fields = Fields::new(&place, artifact);
        fields.known(&["role", "file"], problems);
        let role = fields.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !is_role(&role) {
            problems.add(format!(
                "{place}role must be 1 to {ROLE_BYTES_MAX} of a-z, 0-9, '-' and '_', and not \"{LOG_ROLE}\""
            ));
        } else if !roles.insert(role.clone()) {
            problems.add(format!("{place}role: two artifacts have the role \"{role}\""));
        }
        let name = fields.get("file").and_then(Value::as_str).unwrap_or_default();
        if !is_file_name(name) {
            let found = fields.get("file").map_or("missing".to_owned(), short);
            problems.add(format!("{place}file must be the plain name of a file in output_dir, and is {found}"));
            continue;
        }
        match open_artifact(&output, name) {
            Ok(file) => all.push(Made { role, name: name.to_owned(), file }),
            Err(problem) => problems.add(format!("{place}file: {problem}")),
        }
    }
    all
}

fn open_artifact(output: &OwnedFd, name: &str) -> Result<File, String> {
    let file = plain::open_file(output, Path::new(name)).map_err(|error| match error {
        NotPlain::Missing => format!("there is no '{name}' in output_dir"),
        NotPlain::Link => format!("'{name}' is a symbolic link, and must be the file itself"),
        error => format!("'{name}' {error}"),
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.len() > ARTIFACT_BYTES_MAX => {
            Err(format!("'{name}' has {} bytes, and may have {ARTIFACT_BYTES_MAX}", metadata.len()))
        }
        Ok(_) => Ok(file),
        Err(error) => Err(format!("'{name}' cannot be read: {error}")),
    }
}

fn check_phases(fields: &Map<String, Value>, window: Window, problems: &mut Problems) -> Vec<(v1::Phase, Window)> {
    let phases = match fields.get("phases") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(phases)) if phases.len() <= PHASE_COUNT_MAX => phases,
        other => {
            problems.kind("phases", other, format!("a list of at most {PHASE_COUNT_MAX} objects"));
            return Vec::new();
        }
    };
    let (mut all, mut end_before) = (Vec::new(), window.start());
    for (index, phase) in phases.iter().enumerate() {
        let place = format!("phases[{index}]");
        let Value::Object(phase) = phase else {
            problems.kind(&place, Some(phase), "an object");
            continue;
        };
        let place = format!("{place}.");
        let fields = Fields::new(&place, phase);
        fields.known(&["phase", "start_mono_ns", "end_mono_ns"], problems);
        let kind = match fields.get("phase").and_then(Value::as_str) {
            Some("train") => Some(v1::Phase::Train),
            Some("evaluate") => Some(v1::Phase::Evaluate),
            Some("optimise") => Some(v1::Phase::Optimise),
            _ => {
                problems.add(format!("{place}phase must be \"train\", \"evaluate\" or \"optimise\""));
                None
            }
        };
        let instant = |name| fields.get(name).and_then(Value::as_u64).map(MonoNs);
        let (Some(start), Some(end)) = (instant("start_mono_ns"), instant("end_mono_ns")) else {
            problems.add(format!("{place}start_mono_ns and end_mono_ns must be whole numbers"));
            continue;
        };
        let Ok(part) = Window::new(start, end) else {
            problems.add(format!("{place}end_mono_ns must be later than start_mono_ns"));
            continue;
        };
        if start < window.start() || end > window.end() {
            problems.add(format!(
                "{place}start_mono_ns to end_mono_ns ({start} to {end}) must lie within the command's life ({} to {}) on \
                 CLOCK_MONOTONIC (in Python time.monotonic_ns())",
                window.start(),
                window.end()
            ));
        } else if start < end_before {
            problems.add(format!("{place}start_mono_ns lies before the end of the phase before it"));
        }
        end_before = end_before.max(end);
        all.extend(kind.map(|kind| (kind, part)));
    }
    all
}

fn is_role(role: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=ROLE_BYTES_MAX).contains(&role.len()) && role.bytes().all(is_allowed) && role != LOG_ROLE
}

fn is_file_name(name: &str) -> bool {
    let is_plain = (1..=FILE_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(['/', '\0']);
    is_plain && name != "." && name != ".." && !name.chars().any(char::is_control)
}

/// A value as a message shows it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    let end = text.char_indices().nth(60).map_or(text.len(), |(end, _)| end);
    if end < text.len() { format!("{} ...", &text[..end]) } else { text }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Problems {
    told: Vec<String>,
    further_count: usize,
}

impl Problems {
    fn add(&mut self, problem: impl Into<String>) {
        if self.told.len() < PROBLEM_COUNT_MAX {
            self.told.push(problem.into());
        } else {
            self.further_count += 1;
        }
    }

    fn kind(&mut self, place: &str, found: Option<&Value>, wanted: impl Display) {
        match found {
            Some(value) => self.add(format!("{place} must be {wanted}, and is {}", short(value))),
            None => self.add(format!("{place} is missing, and must be {wanted}")),
        }
    }

    fn none(mut self) -> Result<(), JobError> {
        if self.further_count > 0 {
            self.told.push(format!("and {} further problems", self.further_count));
        }
        if self.told.is_empty() { Ok(()) } else { Err(JobError::Result { problems: self.told }) }
    }
}

/// An object of the file, and where it stands.
struct Fields<'a> {
    place: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn new(place: &'a str, fields: &'a Map<String, Value>) -> Self {
        Self { place, fields }
    }

    /// A field's value; `null` is as good as no field.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Tells fields that nobody knows: a misspelt one would otherwise be missing from the report without a word.
    fn known(&self, names: &[&str], problems: &mut Problems) {
        for name in self.fields.keys().filter(|name| !names.contains(&name.as_str())) {
            let name = short(&Value::String(name.clone()));
            problems.add(format!("{}{name} is no field of {SCHEMA}: put what is for people into notes", self.place));
        }
    }

    fn word(&self, name: &str, problems: &mut Problems) {
        let found = self.get(name);
        let is_word = found.and_then(Value::as_str).is_some_and(|word| (1..=WORD_BYTES_MAX).contains(&word.len()));
        if !is_word {
            problems.kind(&format!("{}{name}", self.place), found, format!("a text of 1 to {WORD_BYTES_MAX} bytes"));
        }
    }

    fn whole(&self, name: &str, problems: &mut Problems) {
        if let Some(found) = self.get(name)
            && !found.is_u64()
        {
            problems.kind(&format!("{}{name}", self.place), Some(found), "a whole number from 0 on");
        }
    }

    fn number(&self, name: &str, is_good: impl Fn(f64) -> bool, wanted: &str, problems: &mut Problems) {
        if let Some(found) = self.get(name)
            && !found.as_f64().is_some_and(is_good)
        {
            problems.kind(&format!("{}{name}", self.place), Some(found), wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::job::Jobs;

    struct Scene {
        folder: Folder,
        _dir: tempfile::TempDir,
    }

    async fn scene() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("agent")).expect("opens");
        let folder = jobs.folder(&v1::TrialKey::default()).await.expect("made");
        fs::write(folder.output_dir().join("model.tflite"), "model").expect("written");
        fs::write(folder.output_dir().join("checkpoint.keras"), "").expect("written");
        Scene { folder, _dir: dir }
    }

    fn read(scene: &Scene, json: &str) -> Result<JobOutput, JobError> {
        fs::write(scene.folder.result(), json).expect("written");
        JobOutput::read(&scene.folder, Window::new(MonoNs(1_000), MonoNs(2_000)).expect("a window"))
    }

    fn problems(scene: &Scene, json: &str) -> Vec<String> {
        match read(scene, json).map(drop).expect_err(json) {
            JobError::Result { problems } => problems,
            other => panic!("problems, not {other}"),
        }
    }

    /// A good result but for these fields.
    fn with(fields: &str) -> String {
        let mut value: Value = serde_json::from_str(
            r#"{"schema":"tinywatt.result.v1","framework":{"name":"tch","version":"1"},"artifacts":[]}"#,
        )
        .expect("JSON");
        let fields: Map<String, Value> = serde_json::from_str(fields).expect("JSON");
        value.as_object_mut().expect("an object").extend(fields);
        value.to_string()
    }

    #[tokio::test]
    async fn a_whole_result_is_taken() {
        let scene = scene().await;
        let json = r#"{
            "schema": "tinywatt.result.v1",
            "framework": {"name": "tensorflow", "version": "2.21.0"},
            "artifacts": [{"role": "model", "file": "model.tflite"}, {"role": "checkpoint", "file": "checkpoint.keras"}],
            "phases": [{"phase": "train", "start_mono_ns": 1000, "end_mono_ns": 1500},
                       {"phase": "evaluate", "start_mono_ns": 1500, "end_mono_ns": 2000}],
            "parameter_count": 78666, "mac_count": null,
            "confusion": [[3, 1], [0, 4]],
            "epochs": [{"epoch": 1, "train_loss": 2.5, "train_accuracy": 0.5, "validation_loss": null}, {"epoch": 2}],
            "memory_bytes_peak": 123, "grid_intensity_g_per_kwh": 380.0, "notes": ["seeded"]
        }"#;
        let output = read(&scene, json).expect("good");
        assert_eq!(output.json, json);
        let names: Vec<_> = output.artifacts.iter().map(|made| (made.role.as_str(), made.name.as_str())).collect();
        assert_eq!(names, [("model", "model.tflite"), ("checkpoint", "checkpoint.keras")]);
        let window = |start, end| Window::new(MonoNs(start), MonoNs(end)).expect("a window");
        let phases = [(v1::Phase::Train, window(1_000, 1_500)), (v1::Phase::Evaluate, window(1_500, 2_000))];
        assert_eq!(output.phases, phases);
        read(&scene, &with("{}")).expect("what must be there is enough");
    }

    #[tokio::test]
    async fn each_mistake_is_told_with_its_place() {
        let scene = scene().await;
        std::os::unix::fs::symlink("model.tflite", scene.folder.output_dir().join("link")).expect("made");
        fs::create_dir(scene.folder.output_dir().join("folder")).expect("made");
        let model = r#"{"role":"model","file":"model.tflite"}"#;
        let artifact = |name: &str| format!(r#"{{"artifacts":[{{"role":"model","file":"{name}"}}]}}"#);
        let phase =
            |start: u64, end: u64| format!(r#"{{"phase":"train","start_mono_ns":{start},"end_mono_ns":{end}}}"#);
        for (fields, part) in [
            (r#"{"schema":"tinywatt.result.v2"}"#, "schema is \"tinywatt.result.v2\""),
            (r#"{"schema":null}"#, "schema is missing"),
            (r#"{"shcema":1}"#, "\"shcema\" is no field"),
            (r#"{"framework":"torch"}"#, "framework must be an object"),
            (r#"{"framework":{"name":"torch"}}"#, "framework.version is missing"),
            (r#"{"framework":{"name":"","version":"1"}}"#, "framework.name must be a text"),
            (r#"{"artifacts":null}"#, "artifacts must be a list"),
            (r#"{"artifacts":["model"]}"#, "artifacts[0] must be an object"),
            (&format!(r#"{{"artifacts":[{model},{model}]}}"#), "artifacts[1].role: two artifacts have the role"),
            (r#"{"artifacts":[{"role":"log","file":"model.tflite"}]}"#, "artifacts[0].role must be"),
            (r#"{"artifacts":[{"role":"model"}]}"#, "artifacts[0].file must be the plain name"),
            (&artifact("other.pt"), "there is no 'other.pt' in output_dir"),
            (&artifact("../x"), "plain name of a file in output_dir, and is \"../x\""),
            (&artifact(".."), "and is \"..\""),
            (&artifact("/etc/passwd"), "and is \"/etc/passwd\""),
            (&artifact("link"), "'link' is a symbolic link"),
            (&artifact("folder"), "'folder' is no file"),
            (r#"{"phases":{}}"#, "phases must be a list"),
            (r#"{"phases":[{"phase":"rest","start_mono_ns":1000,"end_mono_ns":1001}]}"#, "phases[0].phase must be"),
            (r#"{"phases":[{"phase":"train","start_mono_ns":1.5,"end_mono_ns":1001}]}"#, "must be whole numbers"),
            (&format!(r#"{{"phases":[{}]}}"#, phase(999, 1_500)), "must lie within the command's life"),
            (&format!(r#"{{"phases":[{}]}}"#, phase(1_500, 2_001)), "must lie within the command's life"),
            (&format!(r#"{{"phases":[{}]}}"#, phase(1_500, 1_500)), "must be later than"),
            (
                &format!(r#"{{"phases":[{},{}]}}"#, phase(1_000, 1_500), phase(1_499, 1_600)),
                "phases[1].start_mono_ns lies",
            ),
            (r#"{"parameter_count":-1}"#, "parameter_count must be a whole number"),
            (r#"{"grid_intensity_g_per_kwh":0}"#, "grid_intensity_g_per_kwh must be a number above 0"),
            (r#"{"confusion":[[1,2],[3]]}"#, "confusion[1] must be a list of 2 counts"),
            (r#"{"epochs":[{"epoch":1},{"epoch":1}]}"#, "epochs[1].epoch must be"),
            (
                r#"{"epochs":[{"epoch":1,"train_accuracy":1.5}]}"#,
                "epochs[0].train_accuracy must be a number from 0 to 1",
            ),
            (r#"{"notes":"one"}"#, "notes must be a list of texts"),
        ] {
            let found = problems(&scene, &with(fields));
            assert!(found.len() == 1 && found[0].contains(part), "{fields}: {found:?}");
        }
    }

    #[tokio::test]
    async fn all_mistakes_are_told_at_once_but_not_without_end() {
        let scene = scene().await;
        let found = problems(&scene, "{}");
        assert_eq!(found.len(), 3, "schema, framework, artifacts: {found:?}");
        let many: Vec<String> = (0..100).map(|index| format!("\"x{index}\":1")).collect();
        let found = problems(&scene, &with(&format!("{{{}}}", many.join(","))));
        assert_eq!((found.len(), found.last().map(String::as_str)), (21, Some("and 80 further problems")));
    }

    #[tokio::test]
    async fn what_is_no_result_at_all_is_named() {
        let scene = scene().await;
        let window = Window::new(MonoNs(1), MonoNs(2)).expect("a window");
        let nothing = JobOutput::read(&scene.folder, window).expect_err("not there");
        assert!(matches!(nothing, JobError::NoResult { is_part_left: false }), "{nothing}");
        fs::write(scene.folder.result().with_extension("json.part"), "{}").expect("written");
        let part = JobOutput::read(&scene.folder, window).expect_err("not renamed");
        assert!(part.to_string().contains("only result.json.part"), "{part}");

        for (json, found) in [("", "it is no JSON: EOF"), ("nonsense", "it is no JSON"), ("[]", "no JSON object")] {
            assert!(problems(&scene, json)[0].contains(found), "{json}");
        }
        let huge = format!("[{}1]", "1,".repeat(1 << 20));
        assert!(problems(&scene, &huge)[0].contains("larger than"));
        let deep = "[".repeat(100_000);
        assert!(problems(&scene, &deep)[0].contains("it is no JSON"));
        fs::remove_file(scene.folder.result()).expect("there");
        std::os::unix::fs::symlink("/etc/hostname", scene.folder.result()).expect("made");
        let linked = JobOutput::read(&scene.folder, window).expect_err("a link");
        assert!(linked.to_string().contains("symbolic link"), "{linked}");
    }

    #[tokio::test]
    async fn nothing_but_plain_files_of_the_folder_is_taken() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let (scene, elsewhere) = (scene().await, tempfile::tempdir().expect("a folder"));
        let output = scene.folder.output_dir();
        let pipe = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let artifact = with(r#"{"artifacts":[{"role":"model","file":"model.tflite"}]}"#);
        let taken = read(&scene, &artifact).expect("good");
        let content = |output: &JobOutput| fs::read_to_string(output.artifacts[0].path()).expect("readable");
        assert_eq!(content(&taken), "model");
        // What stands under its name afterwards is not what was checked.
        fs::remove_file(output.join("model.tflite")).expect("there");
        pipe(&output.join("model.tflite"));
        assert_eq!(content(&taken), "model");
        assert_eq!(problems(&scene, &artifact), ["artifacts[0].file: 'model.tflite' is no file"]);

        fs::write(elsewhere.path().join("model.tflite"), "secret").expect("written");
        fs::remove_dir_all(&output).expect("there");
        std::os::unix::fs::symlink(elsewhere.path(), &output).expect("made");
        let replaced = ["artifacts are taken from output_dir alone, and that is no folder"];
        assert_eq!(problems(&scene, &artifact), replaced);
        read(&scene, &with("{}")).expect("nothing is taken from there");

        fs::remove_file(scene.folder.result()).expect("there");
        pipe(&scene.folder.result());
        let window = Window::new(MonoNs(1), MonoNs(2)).expect("a window");
        let waited = JobOutput::read(&scene.folder, window).expect_err("a pipe that nobody writes into");
        assert!(waited.to_string().ends_with("it is no file"), "{waited}");
    }
}
