//! Puts the artifacts that a collector does not have yet.

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tinywatt_proto::CHUNK_BYTES_MAX;
use tinywatt_proto::v1;

use super::client::Client;
use crate::experiment::Artifact;

/// Uploads what is missing, with progress on standard error.
pub(super) async fn missing(client: &mut Client, artifacts: &[Artifact]) -> anyhow::Result<()> {
    let request = v1::HasRequest { sha256: artifacts.iter().map(|artifact| artifact.sha256.0.to_vec()).collect() };
    let answer = client.artifacts.has(request).await;
    let present = answer.map_err(|status| client.failed("asking for artifacts", &status))?.into_inner().present;
    let is_present = |index: usize| present.get(index).copied().unwrap_or(false);
    for (_, artifact) in artifacts.iter().enumerate().filter(|&(index, _)| !is_present(index)) {
        put(client, artifact).await?;
    }
    Ok(())
}

async fn put(client: &mut Client, artifact: &Artifact) -> anyhow::Result<()> {
    let bar = ProgressBar::new(artifact.content.len() as u64).with_message(artifact.name.clone());
    let style = ProgressStyle::with_template("uploading {msg} [{bar:30}] {bytes} of {total_bytes}");
    bar.set_style(style.expect("the template is right"));
    let counted = bar.clone();
    let requests = requests(artifact).inspect(move |request| counted.inc(request.chunk.len() as u64));
    let answer = client.artifacts.put(tokio_stream::iter(requests)).await;
    bar.finish_and_clear();
    answer.map_err(|status| client.failed(&format!("uploading {}", artifact.name), &status))?;
    eprintln!("uploaded {} ({} bytes)", artifact.name, artifact.content.len());
    Ok(())
}

/// The messages that carry an artifact: the first names it, each holds a chunk.
fn requests(artifact: &Artifact) -> impl Iterator<Item = v1::PutRequest> + Send + 'static {
    let Artifact { sha256, content, .. } = artifact.clone();
    let size_bytes = content.len();
    // An empty artifact takes one message as well, which names it.
    (0..size_bytes.div_ceil(CHUNK_BYTES_MAX).max(1)).map(move |index| {
        let start = index * CHUNK_BYTES_MAX;
        let chunk: Bytes = content.slice(start..size_bytes.min(start + CHUNK_BYTES_MAX));
        v1::PutRequest {
            sha256: (index == 0).then(|| sha256.0.to_vec()),
            size_bytes: (index == 0).then_some(size_bytes as u64),
            chunk: chunk.to_vec(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinywatt_proto::ids::Sha256;

    #[test]
    fn chunks_carry_everything_and_the_first_names_it() {
        for size_bytes in [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX] {
            let content: Vec<u8> = (0..size_bytes).map(|byte| u8::try_from(byte % 251).expect("below 251")).collect();
            let sha256 = Sha256::of(&content);
            let artifact = Artifact { sha256, name: "x".to_owned(), content: content.clone().into() };
            let requests: Vec<_> = requests(&artifact).collect();
            assert_eq!(requests[0].sha256.as_deref(), Some(&sha256.0[..]));
            assert_eq!(requests[0].size_bytes, Some(size_bytes as u64));
            assert!(requests[1..].iter().all(|request| request.sha256.is_none() && !request.chunk.is_empty()));
            assert!(requests.iter().all(|request| request.chunk.len() <= CHUNK_BYTES_MAX));
            assert_eq!(requests.into_iter().flat_map(|request| request.chunk).collect::<Vec<_>>(), content);
        }
    }
}
