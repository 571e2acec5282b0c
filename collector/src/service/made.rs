//! What the jobs of a run made, those that failed included.

use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;
use tinywatt_proto::v1::trial_outcome::Result as OutcomeResult;

use crate::store::{ReadError, RunRow, Store};

/// Everything that jobs have made, by trial and attempt.
///
/// Read from the outcomes, which name what an attempt left behind whether it counts or not: the log of a job that
/// failed is what one looks for first.
pub(super) async fn list(store: &Store, row: &RunRow) -> Result<Vec<v1::RunArtifact>, ReadError> {
    let is_job = |treatment: &str| {
        let found = row.submit.treatments.iter().find(|candidate| candidate.name == treatment);
        found.is_some_and(|treatment| matches!(treatment.workload, Some(Workload::Job(_))))
    };
    let artifacts = store.artifacts();
    let mut made = Vec::new();
    for attempt in store.attempts(&row.run).await? {
        let Some(result) = attempt.result.filter(|result| is_job(&result.treatment)) else { continue };
        let Some(outcome) = store.outcome(&attempt.attempt).await? else { continue };
        for (role, artifact) in named(outcome) {
            // What an agent names and never handed in is not there to be had.
            if !Sha256::from_bytes(&artifact.sha256).is_some_and(|sha256| artifacts.has(sha256)) {
                continue;
            }
            made.push(v1::RunArtifact {
                trial: Some((&attempt.attempt).into()),
                treatment: result.treatment.clone(),
                replicate: result.replicate,
                is_valid: result.is_valid(),
                role,
                artifact: Some(artifact),
            });
        }
    }
    Ok(made)
}

/// The artifacts that an outcome names, each with its role.
fn named(outcome: v1::TrialOutcome) -> Vec<(String, v1::ArtifactRef)> {
    let log = |log: Option<v1::ArtifactRef>| log.map(|log| ("log".to_owned(), log));
    match outcome.result {
        Some(OutcomeResult::Completed(v1::Completed { job: Some(job), .. })) => {
            let made = job.artifacts.into_iter().filter_map(|made| Some((made.role, made.artifact?)));
            made.chain(log(job.log)).collect()
        }
        Some(OutcomeResult::Failure(failure)) => log(failure.log).into_iter().collect(),
        Some(OutcomeResult::Completed(_)) | None => Vec::new(),
    }
}
