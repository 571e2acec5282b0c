//! `collector dataset`: what data sets there are, getting them, and looking whether they are whole.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::InputSet;

use super::{output, table};
use crate::cache::CacheArguments;
use crate::dataset::fetch::{Fetcher, Progress};
use crate::dataset::{self, DatasetError, Kind, Request, SplitRequest};

/// Arguments of `collector dataset`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    cache: CacheArguments,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the data sets: inputs, licence, what to cite and where they come from
    List,
    /// Fetch a data set from its official home into the cache, check it, and print its folder
    Fetch {
        /// Name of the data set
        #[arg(value_name = "NAME", value_parser = name_parser())]
        name: Kind,
        /// Address with copies of the published files, instead of their home; their checksums stay the same
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
    /// Read a data set whole and print inputs per class and the SHA-256 of each part
    Check {
        /// Name of the data set
        #[arg(value_name = "NAME", value_parser = name_parser())]
        name: Kind,
        /// Where it is [default: the cache]
        #[arg(long, value_name = "PATH")]
        path: Option<PathBuf>,
    },
}

fn name_parser() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name))
        .map(|name| Kind::from_name(&name).expect("the parser lets known names through"))
}

/// Lists, fetches or checks.
///
/// # Errors
/// When a data set cannot be fetched or read; each error says what to do.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { command, cache } = arguments;
    let fetcher = cache.folder().map(|cache| Fetcher::new(&cache));
    let fetcher = move || fetcher.context("there is no home folder for the cache: set XDG_CACHE_HOME or give a path");
    // Files and sockets are read in the calling thread's way; the runtime's threads are for others.
    let work = tokio::task::spawn_blocking(move || match command {
        Command::List => output::print(&list(fetcher().ok().as_ref())),
        Command::Fetch { name, mirror } => {
            let fetcher = fetcher()?;
            let fetcher = match mirror {
                Some(mirror) => fetcher.with_mirror(mirror),
                None => fetcher,
            };
            fetch(name, &fetcher)
        }
        Command::Check { name, path } => {
            let path = match path {
                Some(path) => path,
                None => in_cache(name, fetcher)?,
            };
            output::print(&check(name, &path)?)
        }
    });
    work.await.context("the command did not come to an end")??;
    Ok(ExitCode::SUCCESS)
}

fn list(fetcher: Option<&Fetcher>) -> String {
    let mut rows = table::table(&["name", "input", "classes", "train", "validation", "test", "here"]);
    for kind in Kind::ALL {
        let facts = kind.facts();
        let counts =
            facts.counts.map_or_else(|| ["–", "–", "as listed"].map(str::to_owned), |counts| counts.map(count));
        let [train, validation, test] = if kind == Kind::File { ["yours"; 3].map(str::to_owned) } else { counts };
        rows.add_row([
            kind.name().to_owned(),
            facts.input.to_owned(),
            facts.class_count.map_or_else(|| "yours".to_owned(), |classes| classes.to_string()),
            train,
            validation,
            test,
            here(kind, fetcher),
        ]);
    }
    let mut text = table::text(&rows);
    for kind in Kind::ALL {
        let facts = kind.facts();
        let _ = writeln!(text, "\n{kind}: {}\n  home     {}", facts.about, facts.home);
        if kind != Kind::File {
            let _ = writeln!(text, "  licence  {}\n  cite     {}", facts.licence, facts.citation);
        }
    }
    text
}

/// Whether a data set can be used at once, and what it takes to get there.
fn here(kind: Kind, fetcher: Option<&Fetcher>) -> String {
    match (kind, kind.fetch_bytes()) {
        (Kind::Digits, _) => "built in".to_owned(),
        (_, None) => "by path".to_owned(),
        (_, Some(_)) if fetcher.is_some_and(|fetcher| fetcher.is_available(kind)) => "fetched".to_owned(),
        (_, Some(bytes)) => format!("to fetch, {} MB", bytes.div_ceil(1_000_000)),
    }
}

fn fetch(kind: Kind, fetcher: &Fetcher) -> anyhow::Result<()> {
    if kind == Kind::Digits {
        eprintln!("the digits are built in, there is nothing to fetch");
        return Ok(());
    }
    if fetcher.is_available(kind) {
        eprintln!("{kind} has been fetched before");
    }
    let mut shown = Shown::default();
    let folder = fetcher.make_available(kind, None, &mut |progress| shown.update(progress));
    shown.finish();
    let folder = folder?;
    let facts = kind.facts();
    eprintln!("licence: {}\ncite: {}", facts.licence, facts.citation);
    output::print(&format!("{}\n", folder.display()))
}

/// One bar for each file.
#[derive(Default)]
pub(super) struct Shown {
    file: String,
    bar: Option<ProgressBar>,
}

impl Shown {
    pub(super) fn update(&mut self, progress: Progress<'_>) {
        if self.file != progress.file {
            self.finish();
            self.file = progress.file.to_owned();
        }
        let bar = self.bar.get_or_insert_with(|| {
            let template = "{msg} [{bar:24}] {bytes} of {total_bytes} {bytes_per_sec} {eta}";
            let style = ProgressStyle::with_template(template).expect("the template is well formed");
            let bar = ProgressBar::new(progress.total_bytes).with_style(style.progress_chars("█░"));
            bar.with_message(progress.file.to_owned()).with_position(progress.done_bytes)
        });
        bar.set_position(progress.done_bytes);
    }

    pub(super) fn finish(&mut self) {
        let Some(bar) = self.bar.take() else { return };
        bar.finish_and_clear();
        if bar.length() == Some(bar.position()) {
            eprintln!("fetched {} ({} bytes)", self.file, bar.position());
        }
    }
}

fn in_cache(kind: Kind, fetcher: impl FnOnce() -> anyhow::Result<Fetcher>) -> anyhow::Result<PathBuf> {
    if kind == Kind::Digits {
        return Ok(PathBuf::new());
    }
    if kind.fetch_bytes().is_none() {
        anyhow::bail!("'{kind}' is not fetched: name its folder or file with --path");
    }
    let fetcher = fetcher()?;
    if !fetcher.is_available(kind) {
        anyhow::bail!(
            "'{kind}' is not in {}: fetch it with `collector dataset fetch {kind}`, or name its folder with --path",
            fetcher.folder(kind).display()
        );
    }
    Ok(fetcher.folder(kind))
}

fn check(kind: Kind, path: &Path) -> Result<String, DatasetError> {
    let request = SplitRequest {
        kind,
        path: path.to_owned(),
        train_limit: None,
        validation_limit: None,
        test_limit: None,
        class_names: None,
    };
    match dataset::prepare(&request) {
        Ok(prepared) => {
            let parts = [("train", &prepared.train), ("validation", &prepared.validation), ("test", &prepared.test)];
            let mut text = parts_table(&parts, &prepared.class_names);
            let repeated = dataset::repeated_count(&prepared.train, &prepared.validation, &prepared.test);
            let _ = writeln!(text, "\n{repeated} test inputs are also, byte for byte, training or validation inputs");
            Ok(text)
        }
        Err(error @ DatasetError::NoTraining { .. }) => {
            let test = dataset::load(&Request { kind, path: path.to_owned(), limit: None, class_names: None })?;
            let mut text = parts_table(&[("test", &test.inputs)], &test.class_names);
            let _ = writeln!(text, "\n{error}");
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

/// Inputs per class of each part, and below the SHA-256 of the part as an input set.
fn parts_table(parts: &[(&str, &InputSet)], class_names: &[String]) -> String {
    let mut columns = vec!["class"];
    columns.extend(parts.iter().map(|(name, _)| *name));
    let mut rows = table::table(&columns);
    let of_class = |set: &InputSet, class: usize| set.labels().iter().filter(|&&label| label as usize == class).count();
    for (class, name) in class_names.iter().enumerate() {
        let counts = parts.iter().map(|(_, set)| of_class(set, class).to_string());
        rows.add_row(std::iter::once(name.clone()).chain(counts));
    }
    let totals = parts.iter().map(|(_, set)| set.labels().len().to_string());
    rows.add_row(std::iter::once("all".to_owned()).chain(totals));
    let mut text = table::text(&rows);
    text.push('\n');
    for (name, set) in parts {
        let _ = writeln!(text, "{name:<10}  sha256 {}", Sha256::of(&set.to_bytes()));
    }
    text
}

/// A count with its thousands apart.
fn count(count: u32) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_data_set_with_licence_and_home() {
        let text = list(None);
        for kind in Kind::ALL {
            assert!(text.contains(kind.name()) && text.contains(kind.facts().about), "{kind}\n{text}");
        }
        assert!(text.contains("45,000") && text.contains("to fetch, 171 MB"), "{text}");
        assert!(text.contains("non-commercial use only") && text.contains("http://ufldl.stanford.edu"), "{text}");
    }

    #[test]
    fn a_check_counts_classes_and_hashes_parts() {
        let text = check(Kind::Digits, Path::new("")).expect("built in");
        assert!(text.contains("all     1213    134          450"), "{text}");
        assert!(text.contains("\n0 test inputs are also"), "{text}");
        assert_eq!(text.matches("sha256 ").count(), 3, "{text}");
    }
}
