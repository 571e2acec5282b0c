//! Each layout read, and each way it can be broken.

use std::fs;

use tempfile::TempDir;

use super::*;

const CIFAR10_BYTES: u64 = 30_730_000;

fn request(kind: Kind, path: &Path, limit: Option<u32>) -> Request {
    Request { kind, path: path.to_owned(), limit, class_names: None }
}

/// The message with the folder's name, which changes from run to run, taken out.
fn message(request: &Request, folder: &TempDir) -> String {
    let error = load(request).expect_err("broken on purpose");
    error.to_string().replace(&folder.path().display().to_string(), "FOLDER")
}

/// A batch whose pixels are all 0, but for the records given.
fn cifar10(folder: &Path, records: &[Vec<u8>]) {
    let file = folder.join("test_batch.bin");
    fs::write(&file, records.concat()).expect("temporary file");
    File::options().write(true).open(&file).and_then(|file| file.set_len(CIFAR10_BYTES)).expect("sparse file");
}

fn keywords(rows: &str, inputs: &[(&str, usize)]) -> TempDir {
    let folder = TempDir::new().expect("temporary folder");
    fs::write(folder.path().join("y_labels.csv"), rows).expect("labels");
    for (file, bytes) in inputs {
        fs::write(folder.path().join(file), vec![0x80; *bytes]).expect("input");
    }
    folder
}

#[test]
fn the_digits_are_built_in() {
    let dataset = load(&request(Kind::Digits, Path::new(""), None)).expect("built in");
    assert_eq!(dataset.inputs.labels().len(), 450);
    assert_eq!(dataset.inputs.shape(), [8, 8, 1]);
    assert_eq!(dataset.class_names.len(), 10);
    for class in 0..10 {
        let count = dataset.inputs.labels().iter().filter(|&&label| label == class).count();
        assert!((43..=47).contains(&count), "the split is stratified, and digit {class} has {count} inputs");
    }
    assert!((0..450).all(|index| dataset.inputs.input(index).iter().all(|&pixel| pixel <= 16)));
}

#[test]
fn no_test_input_is_a_training_input() {
    let train = InputSet::from_bytes(include_bytes!("../../data/digits/train.twin")).expect("shipped");
    let test = InputSet::from_bytes(digits::TEST_SET).expect("shipped");
    assert_eq!(train.labels().len() + test.labels().len(), 1797);
    let trained: std::collections::HashSet<_> = (0..train.labels().len()).map(|index| train.input(index)).collect();
    assert!((0..test.labels().len()).all(|index| !trained.contains(test.input(index))));
}

#[test]
fn the_models_built_in_are_those_that_were_measured() {
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("../../data/digits/expected.json")).expect("JSON");
    assert_eq!(expected["input_count"], 450);
    for model in &digits::MODELS {
        let measured = &expected["models"][model.name];
        assert_eq!(measured["file"], model.file);
        assert_eq!(measured["sha256"], tinywatt_proto::ids::Sha256::of(model.content).to_string());
    }
}

#[test]
fn a_limit_takes_the_first_inputs() {
    let all = load(&request(Kind::Digits, Path::new(""), None)).expect("built in").inputs;
    let some = load(&request(Kind::Digits, Path::new(""), Some(7))).expect("built in").inputs;
    assert_eq!(some.labels(), &all.labels()[..7]);
    assert_eq!(some.input(6), all.input(6));
    let error = load(&request(Kind::Digits, Path::new(""), Some(451))).expect_err("too many");
    assert_eq!(error.to_string(), "a limit of 451 was set, and digits has 450 inputs; lower the limit or leave it out");
}

#[test]
fn colour_planes_are_woven() {
    let folder = TempDir::new().expect("temporary folder");
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).expect("folder");
    let record = [vec![3], vec![1; 1024], vec![2; 1024], vec![9; 1024]].concat();
    cifar10(&inner, &[vec![0; 3073], record]);
    fs::write(inner.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").expect("names");
    for path in [folder.path(), &inner] {
        let dataset = load(&request(Kind::Cifar10, path, Some(2))).expect("whole");
        assert_eq!(dataset.inputs.labels(), [0, 3]);
        assert_eq!(dataset.inputs.shape(), [32, 32, 3]);
        assert!(dataset.inputs.input(1).chunks(3).all(|pixel| pixel == [1, 2, 9]));
        assert_eq!(dataset.class_names[3], "d");
    }
}

#[test]
fn a_broken_cifar10_is_refused() {
    let folder = TempDir::new().expect("temporary folder");
    let asked = request(Kind::Cifar10, folder.path(), None);
    let text = message(&asked, &folder);
    assert!(text.starts_with("FOLDER/test_batch.bin cannot be read (No such file or directory"), "{text}");
    assert!(text.contains("path must name the folder of CIFAR-10's binary version"), "{text}");

    fs::write(folder.path().join("test_batch.bin"), vec![0; 3073 * 5 + 100]).expect("cut file");
    assert_eq!(
        message(&asked, &folder),
        "FOLDER/test_batch.bin has 15465 bytes and should have 30730000: it is cut short or of another layout; \
         fetch it again"
    );

    cifar10(folder.path(), &[vec![0; 3073], vec![10; 3073]]);
    assert_eq!(
        message(&asked, &folder),
        "FOLDER/test_batch.bin gives input 1 the label 10, and there are 10 classes, from 0"
    );
}

#[test]
fn keywords_are_read_with_their_labels() {
    let folder = keywords("a.bin, 12, 7\nb.bin,12,11\n", &[("a.bin", 490), ("b.bin", 490)]);
    let dataset = load(&request(Kind::Kws, folder.path(), None)).expect("whole");
    assert_eq!(dataset.inputs.labels(), [7, 11]);
    assert_eq!(dataset.inputs.encoding(), Encoding::Quantised);
    assert_eq!(dataset.inputs.shape(), [49, 10, 1]);
    assert_eq!(dataset.class_names[7], "stop");
}

#[test]
fn broken_keywords_are_refused() {
    let check = |rows: &str, inputs: &[(&str, usize)], expected: &str| {
        let folder = keywords(rows, inputs);
        let text = message(&request(Kind::Kws, folder.path(), None), &folder);
        assert!(text.starts_with(expected), "{text}\nis not\n{expected}");
    };
    check("a.bin,12,7\n", &[("a.bin", 489)], "FOLDER/a.bin has 489 bytes and should have 490");
    check("a.bin,12,7\n", &[], "FOLDER/a.bin cannot be read");
    check("a.bin,12,12\n", &[("a.bin", 490)], "FOLDER/y_labels.csv:1: label 12 of a.bin names no class");
    check("a.bin,12,7\nb.bin,10,7\n", &[("a.bin", 490)], "FOLDER/y_labels.csv:2: 10 classes, and keyword");
    check("file,label\n", &[], "FOLDER/y_labels.csv:1: 'file,label' is not a row `file,classes,label`");
    check("", &[], "FOLDER/y_labels.csv:1: no inputs are listed");
}

#[test]
fn the_class_names_are_those_of_the_published_inputs() {
    let table = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/kws01/expected.csv"));
    let Ok(text) = fs::read_to_string(table) else {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {} is not there\n", table.display()),
        );
        return;
    };
    // Files are called tst_000000_Stop_7.bin.
    let dataset = load(&request(Kind::Kws, keywords("a.bin,12,0\n", &[("a.bin", 490)]).path(), None)).expect("whole");
    for row in text.lines().skip(1) {
        let parts: Vec<&str> = row.split(['_', '.', ',']).collect();
        let label: usize = parts[3].parse().expect("label");
        assert_eq!(dataset.class_names[label], parts[2].to_lowercase());
    }
}

#[test]
fn an_input_set_file_is_taken_with_class_names() {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("own.twin");
    let set = InputSet::new(Encoding::Plain, 2, vec![2], vec![0, 1, 1], vec![1, 2, 3, 4, 5, 6]).expect("fits");
    fs::write(&file, set.to_bytes()).expect("file");
    let mut asked = request(Kind::File, &file, Some(2));
    assert_eq!(load(&asked).expect("whole").class_names, ["0", "1"]);
    asked.class_names = Some(names(&["cat", "dog"]));
    let dataset = load(&asked).expect("whole");
    assert_eq!((dataset.class_names.as_slice(), dataset.inputs.input(1)), (&names(&["cat", "dog"])[..], &[3, 4][..]));
    asked.class_names = Some(names(&["cat"]));
    assert_eq!(message(&asked, &folder), "1 class names are given, and the data set has 2 classes");

    fs::write(&file, &set.to_bytes()[..40]).expect("file");
    assert_eq!(
        message(&asked, &folder),
        "FOLDER/own.twin is not a whole input set: an input set of 6 bytes was announced, 0 are there"
    );
}
