//! The real client against a small server on loopback that cuts, stalls, ignores and refuses as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use tinywatt_proto::ids::Sha256;

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// What was asked for, all of it or the rest.
    Good,
    /// The same, and closes after so many bytes of it.
    Cut(usize),
    /// The same, and says nothing more after so many bytes of it, until the client leaves.
    Stall(usize),
    /// Everything, whatever was asked for.
    IgnoreRange,
    /// Goes on one byte later than asked for.
    WrongPlace,
    /// A status without the file.
    Status(u16),
    /// Everything, without telling its size, and more.
    Endless,
}

struct Server {
    url: String,
    /// The `Range` of each request, empty without one.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers requests in turn, one a connection; those beyond the script are not accepted.
    fn start(content: Vec<u8>, script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asked_there = Arc::clone(&asked);
        thread::spawn(move || {
            for answer in script {
                let Ok((connection, _)) = listener.accept() else { return };
                // The client leaves early where it should.
                let _ = serve(connection, &content, answer, &asked_there);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("one thread at a time").clone()
    }
}

fn serve(mut connection: TcpStream, content: &[u8], answer: Answer, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut range = String::new();
    for line in BufReader::new(connection.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("range: ") {
            range = value.to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    asked.lock().expect("one thread at a time").push(range.clone());
    let begin = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    let (begin, bytes_max) = match answer {
        Answer::Good => (begin, usize::MAX),
        Answer::Cut(count) | Answer::Stall(count) => (begin, count),
        Answer::IgnoreRange => (None, usize::MAX),
        Answer::WrongPlace => (begin.map(|begin| begin + 1), usize::MAX),
        Answer::Status(status) => {
            return write!(
                connection,
                "HTTP/1.1 {status} Said So\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!"
            );
        }
        Answer::Endless => {
            write!(connection, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                connection.write_all(content)?;
            }
        }
    };
    let rest = &content[begin.unwrap_or(0)..];
    let (status, count) = (if begin.is_some() { "206 Partial Content" } else { "200 OK" }, rest.len());
    write!(connection, "HTTP/1.1 {status}\r\ncontent-length: {count}\r\nconnection: close\r\n")?;
    if let Some(begin) = begin {
        write!(connection, "content-range: bytes {begin}-{}/{}\r\n", content.len() - 1, content.len())?;
    }
    connection.write_all(b"\r\n")?;
    connection.write_all(&rest[..bytes_max.min(count)])?;
    if matches!(answer, Answer::Stall(_)) {
        io::copy(&mut connection, &mut io::sink())?;
    }
    Ok(())
}

/// A client that waits for nothing, and a folder with a file to fetch.
struct Scene {
    folder: TempDir,
    content: Vec<u8>,
    sha256: String,
    patience: Patience,
}

impl Scene {
    fn new() -> Self {
        let content: Vec<u8> = (0..600_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let patience = Patience {
            connect: Duration::from_secs(5),
            silence_max: Duration::from_millis(300),
            wait_min: Duration::from_millis(1),
            wait_max: Duration::from_millis(2),
            fruitless_count_max: 3,
            attempt_count_max: 8,
        };
        let sha256 = Sha256::of(&content).to_string();
        Self { folder: TempDir::new().expect("temporary folder"), content, sha256, patience }
    }

    fn serve(&self, script: &[Answer]) -> Server {
        Server::start(self.content.clone(), script.to_vec())
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("file.mat.part")
    }

    fn fetch(&self, server: &Server) -> Result<PathBuf, FetchError> {
        self.fetch_of(server, self.content.len(), &mut |_| {})
    }

    fn fetch_of(
        &self,
        server: &Server,
        bytes: usize,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, FetchError> {
        let url = format!("{}/file.mat", server.url);
        let source = Source { url: &url, name: "file.mat", bytes: bytes as u64, sha256: &self.sha256 };
        download::download(&source, self.folder.path(), &self.patience, progress)
    }

    fn is_fetched(&self, server: &Server) {
        let part = self.fetch(server).unwrap_or_else(|error| panic!("{}", tinywatt_proto::chain::Chain(&error)));
        assert!(fs::read(part).expect("fetched") == self.content);
    }

    fn refusal(&self, server: &Server) -> String {
        self.fetch(server).expect_err("refused").to_string().replace(&server.url, "HOME")
    }
}

#[test]
fn a_file_is_fetched_with_progress() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Good]);
    let mut seen = Vec::new();
    let fetched = scene.fetch_of(&server, 600_000, &mut |progress| {
        assert_eq!((progress.file, progress.total_bytes), ("file.mat", 600_000));
        seen.push(progress.done_bytes);
    });
    assert_eq!(fetched.expect("good"), scene.part());
    assert_eq!((seen.first(), seen.last(), seen.is_sorted()), (Some(&0), Some(&600_000), true));
    assert_eq!(server.asked(), [""]);
}

#[test]
fn after_a_cut_it_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Cut(100_000), Answer::Cut(50_000), Answer::Status(503), Answer::Good]);
    scene.is_fetched(&server);
    assert_eq!(server.asked(), ["", "bytes=100000-", "bytes=150000-", "bytes=150000-"]);
}

#[test]
fn a_later_call_goes_on_where_an_earlier_one_stopped() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Cut(1_000), Answer::Cut(0), Answer::Cut(0)]);
    assert_eq!(
        scene.refusal(&server),
        "HOME/file.mat broke off at 1000 of 600000 bytes; what has come is kept, the next fetch goes on from there"
    );
    let server = scene.serve(&[Answer::Good]);
    scene.is_fetched(&server);
    assert_eq!(server.asked(), ["bytes=1000-"]);
}

#[test]
fn a_server_that_ignores_the_place_is_taken_from_the_beginning() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Cut(100_000), Answer::IgnoreRange]);
    scene.is_fetched(&server);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_server_that_goes_on_elsewhere_is_asked_again_from_the_beginning() {
    let scene = Scene::new();
    for wrong in [Answer::WrongPlace, Answer::Status(416)] {
        let _ = fs::remove_file(scene.part());
        let server = scene.serve(&[Answer::Cut(100_000), wrong, Answer::Good]);
        scene.is_fetched(&server);
        assert_eq!(server.asked(), ["", "bytes=100000-", ""], "{wrong:?}");
    }
}

#[test]
fn silence_is_not_waited_for_without_end() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Stall(100_000), Answer::Good]);
    scene.is_fetched(&server);
    assert_eq!(server.asked(), ["", "bytes=100000-"]);

    fs::remove_file(scene.part()).expect("fetched above");
    let server = scene.serve(&[Answer::Stall(1), Answer::Stall(0), Answer::Stall(0)]);
    let error = scene.fetch(&server).expect_err("silent");
    assert!(matches!(error, FetchError::Broken { done_bytes: 1, total_bytes: 600_000, .. }), "{error:?}");
}

#[test]
fn a_wrong_file_is_removed_and_named() {
    let scene = Scene::new();
    let mut other = scene.content.clone();
    other[7] ^= 1;
    let found = Sha256::of(&other);
    let server = Server::start(other, vec![Answer::Good]);
    assert_eq!(
        scene.refusal(&server),
        format!(
            "HOME/file.mat came with SHA-256 {found}, and {} was published: it is damaged, or another file; it was removed",
            scene.sha256
        )
    );
    assert!(!scene.part().exists());
}

#[test]
fn a_wrong_beginning_from_before_costs_one_more_fetch() {
    let scene = Scene::new();
    fs::write(scene.part(), vec![0; 1000]).expect("writable");
    let server = scene.serve(&[Answer::Good, Answer::Good]);
    scene.is_fetched(&server);
    assert_eq!(server.asked(), ["bytes=1000-", ""]);
    // More than there should be is of another file.
    fs::write(scene.part(), vec![0; 700_000]).expect("writable");
    let server = scene.serve(&[Answer::Good]);
    scene.is_fetched(&server);
}

#[test]
fn a_refusal_is_told_with_its_status() {
    let scene = Scene::new();
    assert_eq!(
        scene.refusal(&scene.serve(&[Answer::Status(404)])),
        "HOME/file.mat answers with status 404; if it has moved, bring the data set and name its folder with a path"
    );
    let busy = scene.refusal(&scene.serve(&[Answer::Status(503), Answer::Status(429), Answer::Status(500)]));
    assert!(busy.contains("answers with status 500"), "{busy}");
}

#[test]
fn a_file_of_another_size_is_refused() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Good]);
    let error = scene.fetch_of(&server, 599_999, &mut |_| {}).expect_err("larger").to_string();
    assert!(error.contains("has 600000 bytes where 599999 were published"), "{error}");
    let server = scene.serve(&[Answer::Endless]);
    let error = scene.fetch(&server).expect_err("endless");
    assert!(matches!(error, FetchError::Size { expected: 600_000, .. }), "{error:?}");
    assert!(!scene.part().exists(), "nothing of it is kept");
}

#[test]
fn nobody_there_is_told() {
    let scene = Scene::new();
    let server = scene.serve(&[]);
    let error = scene.fetch(&server).expect_err("nobody there");
    assert!(matches!(error, FetchError::Request { .. }), "{error:?}");
    assert!(error.to_string().contains("bring the data set and name its folder with a path"), "{error}");
}

/// TLS is asked for and not given.
#[test]
fn a_home_that_cannot_show_who_it_is_is_refused() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Good; 3]);
    let url = format!("{}/file.mat", server.url.replace("http:", "https:"));
    let source = Source { url: &url, name: "file.mat", bytes: 600_000, sha256: &scene.sha256 };
    let error = download::download(&source, scene.folder.path(), &scene.patience, &mut |_| {}).expect_err("no TLS");
    assert!(matches!(error, FetchError::Request { .. }), "{error:?}");
    assert!(!scene.part().exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let folder = TempDir::new().expect("temporary folder");
    // A file where a folder should be fails for every user, root too.
    fs::write(folder.path().join("tinywatt"), "").expect("writable");
    let error = Fetcher::new(folder.path()).make_available(Kind::Svhn, None, &mut |_| {}).expect_err("no folder");
    let text = error.to_string().replace(&folder.path().display().to_string(), "CACHE");
    assert_eq!(text, "failed to write CACHE/tinywatt/datasets/svhn: is it writable, and is there room for 247 MB?");
}

// === data sets ===

/// The published files are not here, and no other content would be believed; so this much of the way is shown with them.
#[test]
fn a_data_set_is_not_made_of_other_files() {
    let scene = Scene::new();
    let server = scene.serve(&[Answer::Good]);
    let mut fetcher = Fetcher::new(scene.folder.path()).with_mirror(format!("{}/", server.url));
    fetcher.patience = scene.patience.clone();
    let error = fetcher.make_available(Kind::Cifar10, None, &mut |_| {}).expect_err("another file").to_string();
    assert!(error.contains("/cifar-10-binary.tar.gz has 600000 bytes where 170052171 were published"), "{error}");
    assert!(!fetcher.is_available(Kind::Cifar10));
}

#[test]
fn files_and_archives_get_their_names_when_they_are_whole() {
    let mut scene = Scene::new();
    scene.content =
        archive(&[("inner/a.bin", PLAIN, b"hello"), ("inner/b.bin", PLAIN, &[7; 700]), ("inner/c.bin", PLAIN, b"no")]);
    scene.sha256 = Sha256::of(&scene.content).to_string();
    let folder = scene.folder.path();
    let server = scene.serve(&[Answer::Cut(50), Answer::Good, Answer::Good]);
    let mut fetcher = Fetcher::new(folder).with_mirror(server.url.as_str());
    fetcher.patience = scene.patience.clone();
    let bytes = scene.content.len() as u64;
    let source = Source { url: "http://home.invalid/data.tgz", name: "data.tgz", bytes, sha256: &scene.sha256 };

    fetcher.archive(&source, folder, "inner", &FILES, &mut |_| {}).expect("whole");
    assert_eq!(names(folder), ["inner"], "neither the archive nor a part is left");
    assert_eq!(names(&folder.join("inner")), ["a.bin", "b.bin"]);

    fetcher.files(&[source], folder, &mut |_| {}).expect("whole");
    assert_eq!(names(folder), ["data.tgz", "inner"]);
    // Nobody answers any more, and nobody needs to be asked.
    fetcher.files(&[source], folder, &mut |_| {}).expect("there");
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let folder = TempDir::new().expect("temporary folder");
    let fetcher = Fetcher::new(folder.path());
    let given = fetcher.make_available(Kind::Svhn, Some(Path::new("mine")), &mut |_| {});
    assert_eq!(given.expect("believed"), Path::new("mine"));
    assert_eq!(fetcher.make_available(Kind::Digits, None, &mut |_| {}).expect("built in"), Path::new(""));
    assert_eq!(
        fetcher.make_available(Kind::Kws, None, &mut |_| {}).expect_err("published nowhere").to_string(),
        "the data set 'kws' is not fetched: name its folder or file with a path"
    );
    let datasets = folder.path().join("tinywatt/datasets");
    for (name, bytes) in [("svhn/train_32x32.mat", 182_040_794), ("svhn/test_32x32.mat", 64_275_384)] {
        fs::create_dir_all(datasets.join("svhn")).expect("folder");
        assert!(!fetcher.is_available(Kind::Svhn));
        File::create(datasets.join(name)).and_then(|file| file.set_len(bytes)).expect("sparse file");
    }
    assert_eq!(fetcher.make_available(Kind::Svhn, None, &mut |_| {}).expect("there"), datasets.join("svhn"));
}

#[test]
fn two_programs_do_not_write_one_file() {
    let folder = TempDir::new().expect("temporary folder");
    let fetcher = Fetcher::new(folder.path());
    let _other = lock(&fetcher.folder(Kind::Svhn), 1).expect("free");
    let error = fetcher.make_available(Kind::Svhn, None, &mut |_| {}).expect_err("held");
    assert!(matches!(error, FetchError::Busy { .. }), "{error:?}");
}

// === archives ===

const FILES: [(&str, u64); 2] = [("a.bin", 5), ("b.bin", 700)];

fn entry(tar: &mut tar::Builder<GzEncoder<Vec<u8>>>, path: &str, kind: tar::EntryType, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    // The builder's own setter refuses paths that lead out.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, content).expect("memory takes it");
}

fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, content) in entries {
        entry(&mut tar, path, *kind, content);
    }
    tar.into_inner().and_then(GzEncoder::finish).expect("memory takes it")
}

fn unpacked(content: &[u8]) -> (TempDir, Result<(), FetchError>) {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("archive.part");
    fs::write(&path, content).expect("writable");
    let result = unpack::unpack(&path, folder.path(), "inner", &FILES);
    (folder, result)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const PLAIN: tar::EntryType = tar::EntryType::Regular;

#[test]
fn only_the_expected_files_are_unpacked() {
    let (folder, result) = unpacked(&archive(&[
        ("inner/", tar::EntryType::Directory, b""),
        ("inner/readme.html", PLAIN, b"<html>"),
        ("inner/b.bin", PLAIN, &[7; 700]),
        ("../evil.bin", PLAIN, b"evil!"),
        ("/evil.bin", PLAIN, b"evil!"),
        ("inner/a.bin", PLAIN, b"hello"),
    ]));
    result.expect("whole");
    assert_eq!(names(folder.path()), ["archive.part", "inner"]);
    assert_eq!(names(&folder.path().join("inner")), ["a.bin", "b.bin"]);
    assert_eq!(fs::read(folder.path().join("inner/a.bin")).expect("there"), b"hello");
}

#[test]
fn archives_that_lack_or_change_a_file_are_refused() {
    let check = |entries: &[(&str, tar::EntryType, &[u8])], expected: &str| {
        let (folder, result) = unpacked(&archive(entries));
        let text = tinywatt_proto::chain::Chain(&result.expect_err("wrong on purpose")).to_string();
        assert!(text.contains(expected), "{text}\nis not\n{expected}");
        assert!(!folder.path().join("inner").exists(), "nothing appears");
    };
    check(&[("inner/a.bin", PLAIN, b"hello")], "inner/b.bin is not in it with all its 700 bytes");
    check(&[("inner/a.bin", PLAIN, b"hello!")], "inner/a.bin is not a file of 5 bytes");
    check(&[("inner/a.bin", tar::EntryType::Symlink, b"")], "inner/a.bin is not a file of 5 bytes");
    check(
        &[("large", PLAIN, &vec![0; 2 << 20]), ("inner/a.bin", PLAIN, b"hello"), ("inner/b.bin", PLAIN, &[7; 700])],
        "cannot be unpacked",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A whole archive and the beginnings of one: nothing but the whole appears.
    #[test]
    fn cut_anywhere_an_archive_is_refused(cut in any::<prop::sample::Index>()) {
        let whole = archive(&[("inner/a.bin", PLAIN, b"hello"), ("inner/b.bin", PLAIN, &[7; 700])]);
        let end = cut.index(whole.len());
        let (folder, result) = unpacked(&whole[..end]);
        // The end of the compressed stream holds nothing but zeros and a check sum that the pinned one stands for.
        prop_assert_eq!(result.is_ok(), folder.path().join("inner").exists());
        if result.is_ok() {
            prop_assert!(unpack::is_whole(&folder.path().join("inner"), &FILES));
        }
    }
}
