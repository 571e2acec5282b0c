//! `collector artifacts`: what the jobs of a run made, listed or saved as files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use sha2::Digest;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::client::Client;
use super::{output, table};

/// Arguments of `collector artifacts`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run whose jobs made them, or "latest"
    run: String,
    /// Only those of this trial, from 0
    #[arg(long, value_name = "N")]
    trial: Option<u32>,
    /// Save them as files in this folder, which is made when it is missing
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

/// Longest part of a file's name that comes from elsewhere: three of them fit the 255 bytes of a name.
const PART_CHARACTERS_MAX: usize = 80;

/// Lists the artifacts, and saves them when a folder is given.
///
/// # Errors
/// When the collector does not answer, there is no such run, or a file cannot be written or is there already.
pub async fn run(arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    let run = client.run(&arguments.run).await?.run_id;
    let what = format!("listing what the jobs of '{run}' made");
    let answer = client.control.list_artifacts(v1::ListArtifactsRequest { run_id: run.clone() }).await;
    let mut made = answer.map_err(|status| client.failed(&what, &status))?.into_inner().artifacts;
    made.retain(|artifact| arguments.trial.is_none_or(|wanted| trial(artifact).trial == wanted));
    if made.is_empty() {
        let of = arguments.trial.map(|trial| format!("trial {trial} of ")).unwrap_or_default();
        eprintln!("the jobs of {of}run '{run}' made nothing yet; `collector runs` tells how far it is");
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&rows(&made))?;
    let Some(folder) = arguments.save else { return Ok(ExitCode::SUCCESS) };
    let files: Vec<PathBuf> = names(&made).into_iter().map(|name| folder.join(name)).collect();
    let taken: Vec<&PathBuf> = files.iter().filter(|path| path.symlink_metadata().is_ok()).collect();
    if let [first, rest @ ..] = taken.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        bail!("{} is there already{more}, and nothing is overwritten: save into another folder", first.display());
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for (artifact, path) in made.iter().zip(&files) {
        save(&mut client, artifact.artifact.clone().unwrap_or_default(), path).await?;
    }
    eprintln!("saved {} files in {}", files.len(), folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Fetches one artifact. The file appears under its name when it is whole and right.
async fn save(client: &mut Client, artifact: v1::ArtifactRef, path: &Path) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bar = ProgressBar::new(artifact.size_bytes).with_message(name.clone());
    let style = ProgressStyle::with_template("saving {msg} [{bar:30}] {bytes} of {total_bytes}");
    bar.set_style(style.expect("the template is right"));
    let part = path.with_file_name(format!("{name}.part"));
    let saved = fetch(client, &artifact, &part, &bar).await;
    bar.finish_and_clear();
    // A hard link, unlike a rename, never replaces what another program has put there since.
    let saved = saved.and_then(|()| {
        std::fs::hard_link(&part, path).with_context(|| format!("{} cannot be written", path.display()))
    });
    // Whole or not, the part has served its turn; what cannot be removed is named by what follows, if anything.
    let _ = std::fs::remove_file(&part);
    saved?;
    eprintln!("saved {} ({})", path.display(), HumanBytes(artifact.size_bytes));
    Ok(())
}

async fn fetch(client: &mut Client, artifact: &v1::ArtifactRef, part: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
    let what = format!("fetching {}", artifact.name);
    let cannot = || format!("{} cannot be written: check the folder and its free space", part.display());
    let mut file = File::create(part).await.with_context(cannot)?;
    let request = v1::GetRequest { sha256: artifact.sha256.clone(), offset: 0 };
    let answer = client.artifacts.get(request).await;
    let mut chunks = answer.map_err(|status| client.failed(&what, &status))?.into_inner();
    let mut hasher = sha2::Sha256::new();
    while let Some(response) = chunks.message().await.map_err(|status| client.failed(&what, &status))? {
        hasher.update(&response.chunk);
        file.write_all(&response.chunk).await.with_context(cannot)?;
        bar.inc(response.chunk.len() as u64);
    }
    file.flush().await.with_context(cannot)?;
    let found = Sha256(hasher.finalize().into());
    if Sha256::from_bytes(&artifact.sha256) != Some(found) {
        bail!("{what}: what came has SHA-256 {found}, not its own: try again, and check the collector's disk");
    }
    Ok(())
}

fn trial(artifact: &v1::RunArtifact) -> v1::TrialKey {
    artifact.trial.clone().unwrap_or_default()
}

/// Names of files, readable and each once: `r1-keras-full-integer-model.tflite`.
fn names(made: &[v1::RunArtifact]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |artifact: &v1::RunArtifact| {
        let attempt = match artifact.is_valid {
            true => String::new(),
            false => format!("invalid-t{}a{}-", trial(artifact).trial, trial(artifact).attempt),
        };
        let own = artifact.artifact.as_ref().map_or("", |own| own.name.as_str());
        let own = if own.is_empty() { &artifact.role } else { own };
        let name = format!("r{}-{}-{attempt}{}", artifact.replicate, plain(&artifact.treatment), plain(own));
        let (stem, ending) =
            name.rsplit_once('.').map_or((name.as_str(), String::new()), |(stem, ending)| (stem, format!(".{ending}")));
        let numbered = (2u32..).map(|number| format!("{stem}-{number}{ending}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(&name.to_lowercase()));
        let free = free.expect("there are more numbers than artifacts");
        taken.insert(free.to_lowercase());
        free
    };
    made.iter().map(name).collect()
}

/// What a file system of any kind takes as part of a name.
fn plain(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let plain: String = text.chars().map(|character| if is_plain(character) { character } else { '-' }).collect();
    // The ending tells most, so the middle is what goes.
    match plain.char_indices().nth(PART_CHARACTERS_MAX) {
        None => plain,
        Some(_) => {
            format!("{}--{}", &plain[..PART_CHARACTERS_MAX / 2], &plain[plain.len() - PART_CHARACTERS_MAX / 2..])
        }
    }
}

fn rows(made: &[v1::RunArtifact]) -> String {
    let mut rows = table::table(&["trial", "treatment", "replicate", "role", "size", "sha256", "name"]);
    for artifact in made {
        let (key, own) = (trial(artifact), artifact.artifact.clone().unwrap_or_default());
        let invalid = if artifact.is_valid { String::new() } else { format!(" (attempt {}, invalid)", key.attempt) };
        let sha256 = Sha256::from_bytes(&own.sha256).map(|sha256| sha256.to_string()).unwrap_or_default();
        rows.add_row([
            format!("{}{invalid}", key.trial),
            artifact.treatment.clone(),
            artifact.replicate.to_string(),
            artifact.role.clone(),
            HumanBytes(own.size_bytes).to_string(),
            sha256,
            own.name,
        ]);
    }
    table::text(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(treatment: &str, attempt: u32, is_valid: bool, name: &str) -> v1::RunArtifact {
        v1::RunArtifact {
            trial: Some(v1::TrialKey { run_id: "r".to_owned(), trial: 4, attempt }),
            treatment: treatment.to_owned(),
            replicate: 1,
            is_valid,
            role: "log".to_owned(),
            artifact: Some(v1::ArtifactRef { sha256: vec![7; 32], size_bytes: 2_048, name: name.to_owned() }),
        }
    }

    #[test]
    fn names_of_files_are_readable_and_each_once() {
        let made = [
            made("keras-full-integer", 1, true, "model.tflite"),
            made("keras-full-integer", 2, true, "Model.tflite"),
            made("keras-full-integer", 2, false, ""),
            made("../../etc", 1, true, "a/b\\c\n.tar.gz"),
            made("x", 1, true, &format!("{}.pt", "ä".repeat(300))),
        ];
        let names = names(&made);
        assert_eq!(
            names[..4],
            [
                "r1-keras-full-integer-model.tflite",
                "r1-keras-full-integer-Model-2.tflite",
                "r1-keras-full-integer-invalid-t4a2-log",
                "r1-..-..-etc-a-b-c-.tar.gz",
            ]
        );
        assert!(names[4].len() < 120 && names[4].ends_with(".pt"), "{}", names[4]);
    }

    #[test]
    fn a_row_tells_what_was_made_and_whether_it_counts() {
        let text = rows(&[made("keras", 2, false, "job.log")]);
        for part in ["4 (attempt 2, invalid)", "keras", "log", "2.00 KiB", "07070707", "job.log"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
