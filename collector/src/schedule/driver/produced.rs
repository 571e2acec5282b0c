//! What the jobs of a run made, for the trials of the same replicate that need it.

use std::collections::{BTreeMap, BTreeSet};

use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tinywatt_proto::v1::job_input::Source;
use tinywatt_proto::v1::treatment::Workload;

use super::workload_of;
use crate::result::{InvalidReason, JobArtifact, ModelFile, TrialResult};
use crate::schedule::workload::{job_seed, needs};
use crate::store::{ReadError, RunRow, Store};

/// Artifacts by the name of the treatment whose job made them, and their role.
pub(super) type Made = BTreeMap<(String, String), JobArtifact>;

/// All that the trials which this one needs have made.
pub(super) async fn made_for(store: &Store, row: &RunRow, planned: &v1::PlannedTrial) -> Result<Made, ReadError> {
    let mut made = Made::new();
    for needed in &planned.needs {
        let attempts = store.trial_attempts(&row.run, *needed).await?;
        let mut results = attempts.into_iter().filter_map(|attempt| attempt.result);
        let Some(TrialResult { treatment, measurement, .. }) = results.find(TrialResult::is_valid) else { continue };
        let artifacts = measurement.and_then(|measurement| measurement.job).map(|job| job.artifacts);
        for artifact in artifacts.unwrap_or_default() {
            // Of several with one role the first is meant.
            made.entry((treatment.clone(), artifact.role.clone())).or_insert(artifact);
        }
    }
    Ok(made)
}

/// The workload as an agent executes it: everything that others made named by its content, and a job's seed its own.
pub(super) fn resolve(
    workload: Workload,
    made: &Made,
    replicate: u32,
) -> Result<v1::assignment::Workload, InvalidReason> {
    Ok(match workload {
        Workload::Inference(mut inference) => {
            if let Some(produced) = &inference.model_from {
                inference.model = Some(reference(made, produced)?);
            }
            v1::assignment::Workload::Inference(inference)
        }
        Workload::Job(mut job) => {
            for input in &mut job.inputs {
                if let Some(Source::Produced(produced)) = &input.source {
                    input.source = Some(Source::Artifact(reference(made, produced)?));
                }
            }
            job.seed = job_seed(job.seed, replicate).into();
            v1::assignment::Workload::Job(job)
        }
        Workload::Replay(replay) => v1::assignment::Workload::Replay(replay),
    })
}

fn reference(made: &Made, produced: &v1::Produced) -> Result<v1::ArtifactRef, InvalidReason> {
    let v1::Produced { treatment, role } = produced;
    let found = made.get(&(treatment.clone(), role.clone()));
    let named = found.and_then(|artifact| Some((artifact, artifact.sha256.parse::<Sha256>().ok()?)));
    let (artifact, sha256) = named.ok_or_else(|| InvalidReason {
        code: MISSING.to_owned(),
        message: format!("the job of '{treatment}' made no '{role}': let its result name one"),
    })?;
    Ok(v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes: artifact.file_bytes, name: artifact.name.clone() })
}

/// What is known of the model that an inference executed, when the run made it itself.
pub(super) fn model(workload: Option<&Workload>, made: &Made) -> Option<ModelFile> {
    let Some(Workload::Inference(inference)) = workload else { return None };
    let v1::Produced { treatment, role } = inference.model_from.clone()?;
    let artifact = made.get(&(treatment, role))?;
    let blank = || ModelFile {
        sha256: artifact.sha256.clone(),
        file_bytes: artifact.file_bytes,
        precision: String::new(),
        parameter_count: None,
        mac_count: None,
    };
    Some(artifact.model.clone().unwrap_or_else(blank))
}

/// Why a job's result cannot be used: it lacks what others of the run are to work with.
///
/// Found when the job is assessed, so that the job is repeated, and not each of those in vain.
pub(super) fn missing(row: &RunRow, planned: &v1::PlannedTrial, result: &TrialResult) -> Vec<InvalidReason> {
    let Some(Workload::Job(_)) = workload_of(row, planned) else { return Vec::new() };
    let job = result.measurement.as_ref().and_then(|measurement| measurement.job.as_ref());
    let roles: BTreeSet<&str> =
        job.into_iter().flat_map(|job| &job.artifacts).map(|artifact| artifact.role.as_str()).collect();
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for treatment in &row.submit.treatments {
        for produced in needs(treatment.workload.as_ref()) {
            if produced.treatment == planned.treatment {
                wanted.entry(produced.role.as_str()).or_insert(treatment.name.as_str());
            }
        }
    }
    let lacks = wanted.into_iter().filter(|(role, _)| !roles.contains(role));
    let reason = |(role, treatment): (&str, &str)| InvalidReason {
        code: MISSING.to_owned(),
        message: format!("the job made no '{role}', which '{treatment}' needs: let its result name one"),
    };
    lacks.map(reason).collect()
}

/// Code of a reason: what was to be made is not there.
const MISSING: &str = "artifact_missing";

#[cfg(test)]
mod tests {
    use super::*;

    fn produced(role: &str) -> v1::Produced {
        v1::Produced { treatment: "train".to_owned(), role: role.to_owned() }
    }

    fn made() -> Made {
        let artifact = JobArtifact {
            role: "model".to_owned(),
            name: "model.tflite".to_owned(),
            sha256: Sha256([7; 32]).to_string(),
            file_bytes: 9,
            model: None,
        };
        Made::from([(("train".to_owned(), "model".to_owned()), artifact)])
    }

    #[test]
    fn an_inference_is_given_the_model_by_its_content() {
        let inference = v1::InferenceWorkload { model_from: Some(produced("model")), ..Default::default() };
        let workload = Workload::Inference(inference);
        let known = model(Some(&workload), &made()).expect("the run made it");
        assert_eq!((known.file_bytes, known.precision.as_str()), (9, ""));
        let Ok(v1::assignment::Workload::Inference(inference)) = resolve(workload, &made(), 0) else {
            panic!("an inference")
        };
        let artifact = inference.model.expect("resolved");
        assert_eq!((artifact.sha256, artifact.name.as_str()), (vec![7; 32], "model.tflite"));
    }

    #[test]
    fn a_job_is_given_its_parent_and_the_seed_of_its_replicate() {
        let input = |role| v1::JobInput { name: "parent".to_owned(), source: Some(Source::Produced(produced(role))) };
        let job = |role| Workload::Job(v1::JobWorkload { inputs: vec![input(role)], seed: 5, ..Default::default() });
        let Ok(v1::assignment::Workload::Job(first)) = resolve(job("model"), &made(), 0) else { panic!("a job") };
        let Ok(v1::assignment::Workload::Job(second)) = resolve(job("model"), &made(), 1) else { panic!("a job") };
        assert!(matches!(&first.inputs[0].source, Some(Source::Artifact(artifact)) if artifact.size_bytes == 9));
        assert_eq!(first.seed, u64::from(job_seed(5, 0)));
        assert_ne!(first.seed, second.seed);
        let why = resolve(job("checkpoint"), &made(), 0).expect_err("there is none");
        assert!(why.message.contains("'train' made no 'checkpoint'"), "{}", why.message);
    }
}
