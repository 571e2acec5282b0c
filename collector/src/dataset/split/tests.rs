//! Which input is in which part, and that none is in two.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use tinywatt_proto::ids::Sha256;

use super::super::matlab::tests::{compressed, file, variable};
use super::*;

fn request(kind: Kind, path: &Path) -> SplitRequest {
    let path = path.to_owned();
    SplitRequest { kind, path, train_limit: None, validation_limit: None, test_limit: None, class_names: None }
}

/// A set of one-number inputs of two bytes, labels in turns.
fn numbered(first: u16, count: u16) -> InputSet {
    let data = (first..first + count).flat_map(u16::to_le_bytes).collect();
    let labels = (0..count).map(|index| u32::from(index % 10)).collect();
    InputSet::new(Encoding::Plain, 10, vec![2], labels, data).expect("fits")
}

fn inputs(set: &InputSet) -> Vec<Vec<u8>> {
    (0..set.labels().len()).map(|index| set.input(index).to_vec()).collect()
}

/// Published splits must stay for ever. If this fails, every model trained before was trained on other inputs.
#[test]
fn the_split_of_a_data_set_never_changes() {
    assert_eq!(order("cifar10", 50_000)[..4], [22_645, 585, 26_369, 34_159]);
    assert_eq!(order("svhn", 73_257)[..4], [6_400, 49_693, 22_939, 10_507]);
    let prepared = prepare(&request(Kind::Digits, Path::new(""))).expect("built in");
    let sha256 = |set: &InputSet| Sha256::of(&set.to_bytes()).to_string()[..16].to_owned();
    assert_eq!(
        [&prepared.train, &prepared.validation, &prepared.test].map(sha256),
        ["2cdde2658f103c04", "b8de9fc0a4e42561", "091acc27eb4dff02"].map(str::to_owned)
    );
}

#[test]
fn a_tenth_is_set_aside_and_5000_at_most() {
    assert_eq!([9, 10, 1_347, 50_000, 73_257].map(validation_count), [0, 1, 134, 5_000, 5_000]);
    for kind in [Kind::Digits, Kind::Cifar10, Kind::Svhn] {
        let [train, validation, _] = kind.facts().counts.expect("published").map(|count| count as usize);
        assert_eq!(validation_count(train + validation), validation, "{kind}");
    }
}

#[test]
fn the_digits_are_dealt_to_three_parts() {
    let prepared = prepare(&request(Kind::Digits, Path::new(""))).expect("built in");
    let counts = [&prepared.train, &prepared.validation, &prepared.test].map(|set| set.labels().len());
    assert_eq!(counts, [1_213, 134, 450]);
    assert_eq!(repeated_count(&prepared.train, &prepared.validation, &prepared.test), 0);
    assert_eq!((prepared.input_scale, prepared.input_offset), (0.0625, 0.0));
    // The order of the publisher's file is kept.
    let pool = digits::train();
    let mut places = (0..pool.labels().len()).map(|index| pool.input(index));
    assert!((0..1_213).all(|index| places.any(|input| input == prepared.train.input(index))));
}

#[test]
fn a_limit_takes_a_part_of_the_part_with_its_classes_mixed() {
    let limited = |train_limit| {
        let request = SplitRequest { train_limit, validation_limit: Some(20), ..request(Kind::Digits, Path::new("")) };
        prepare(&request).expect("built in")
    };
    let (some, more, all) = (limited(Some(100)), limited(Some(200)), limited(None));
    assert_eq!(some.train.labels().len(), 100);
    assert_eq!(some.validation, all.validation);
    let [some_inputs, more_inputs, all_inputs] =
        [&some, &more, &all].map(|prepared| inputs(&prepared.train).into_iter().collect::<BTreeSet<_>>());
    assert!(some_inputs.is_subset(&more_inputs) && more_inputs.is_subset(&all_inputs));
    let classes: BTreeSet<u32> = some.train.labels().iter().copied().collect();
    assert_eq!(classes.len(), 10, "classes are mixed");

    let too_many = SplitRequest { train_limit: Some(1_214), ..request(Kind::Digits, Path::new("")) };
    assert_eq!(
        prepare(&too_many).expect_err("one too many").to_string(),
        "a limit of 1214 was set, and the training part of digits has 1213 inputs; lower the limit or leave it out"
    );
    let none = SplitRequest { validation_limit: Some(0), ..request(Kind::Digits, Path::new("")) };
    assert_eq!(
        prepare(&none).expect_err("nothing left").to_string(),
        "a limit of 0 leaves nothing of the validation part of digits; set 1 or more, or leave it out"
    );
}

#[test]
fn svhn_is_dealt_without_its_test_inputs() {
    let folder = TempDir::new().expect("temporary folder");
    let mut number = 0u32;
    // Every image is another one: it begins with its number.
    let mut image = || {
        let mut bytes = vec![0; 32 * 32 * 3];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        number += 1;
        bytes
    };
    for (name, count) in [(svhn::TRAIN_FILE, 40), (svhn::TEST_FILE, 15)] {
        let images: Vec<u8> = (0..count).flat_map(|_| image()).collect();
        let labels: Vec<u8> = (0..count).map(|index| u8::try_from(index % 10 + 1).expect("small")).collect();
        let parts = [variable("X", &[32, 32, 3, count], &images), variable("y", &[count, 1], &labels)];
        fs::write(folder.path().join(name), file(&parts.map(|part| compressed(&part)))).expect("file");
    }
    let prepared =
        prepare(&SplitRequest { test_limit: Some(12), ..request(Kind::Svhn, folder.path()) }).expect("whole");
    let parts = [&prepared.train, &prepared.validation, &prepared.test].map(inputs);
    assert_eq!(parts.each_ref().map(Vec::len), [36, 4, 12]);
    assert_eq!(parts.concat().into_iter().collect::<BTreeSet<_>>().len(), 52, "no input is in two parts");
    assert_eq!((prepared.input_scale, prepared.input_offset), (0.007_843_137_254_901_96, -1.0));
}

#[test]
fn the_real_cifar10_is_dealt_as_published() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/test-data/cifar-10-batches-bin"));
    if !folder.join("data_batch_5.bin").exists() {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {} is not there\n", folder.display()),
        );
        return;
    }
    let prepared = prepare(&request(Kind::Cifar10, folder)).expect("whole");
    let counts = [&prepared.train, &prepared.validation, &prepared.test].map(|set| {
        let mut counts = [0; 10];
        set.labels().iter().for_each(|&label| counts[label as usize] += 1);
        counts
    });
    assert_eq!(counts.map(|counts| counts.iter().sum::<u32>()), [45_000, 5_000, 10_000]);
    assert!((0..10).all(|class| counts[0][class] + counts[1][class] == 5_000 && counts[2][class] == 1_000));
    assert!(counts[1].iter().all(|count| (400..600).contains(count)), "{:?}", counts[1]);
}

// === one's own ===

struct Own(TempDir);

impl Own {
    fn new(parts: &[(&str, &InputSet)]) -> Self {
        let folder = TempDir::new().expect("temporary folder");
        for (name, set) in parts {
            fs::write(folder.path().join(name), set.to_bytes()).expect("file");
        }
        Self(folder)
    }

    fn message(&self) -> String {
        let error = prepare(&request(Kind::File, self.0.path())).expect_err("wrong on purpose");
        error.to_string().replace(&self.0.path().display().to_string(), "FOLDER")
    }
}

#[test]
fn ones_own_parts_are_taken_as_they_are() {
    let (train, validation, test) = (numbered(0, 30), numbered(30, 5), numbered(40, 7));
    let own = Own::new(&[("train.twin", &train), ("validation.twin", &validation), ("test.twin", &test)]);
    let classes: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    fs::write(own.0.path().join("classes.txt"), classes.join("\n") + "\n\n").expect("file");
    let prepared = prepare(&request(Kind::File, own.0.path())).expect("whole");
    assert_eq!((&prepared.train, &prepared.validation, &prepared.test), (&train, &validation, &test));
    assert_eq!(prepared.class_names, classes);
    let loaded = load(&Request { kind: Kind::File, path: own.0.path().into(), limit: Some(3), class_names: None });
    assert_eq!(inputs(&loaded.expect("whole").inputs), inputs(&test)[..3]);
    let limited = SplitRequest { train_limit: Some(4), ..request(Kind::File, own.0.path()) };
    assert_eq!(prepare(&limited).expect("whole").train.labels().len(), 4);
}

#[test]
fn without_validation_inputs_a_tenth_is_drawn() {
    let own = Own::new(&[("train.twin", &numbered(0, 30)), ("test.twin", &numbered(40, 7))]);
    let prepared = prepare(&request(Kind::File, own.0.path())).expect("whole");
    assert_eq!((prepared.train.labels().len(), prepared.validation.labels().len()), (27, 3));
    let own = Own::new(&[("train.twin", &numbered(0, 9)), ("test.twin", &numbered(40, 7))]);
    assert!(own.message().contains("fewer than ten training inputs"), "{}", own.message());
}

#[test]
fn what_cannot_be_trained_on_is_refused_with_the_reason() {
    let kws = prepare(&request(Kind::Kws, Path::new("anywhere"))).expect_err("test inputs only").to_string();
    assert!(
        kws.starts_with("the data set 'kws' cannot be trained on: MLPerf Tiny publishes its test inputs alone"),
        "{kws}"
    );

    let own = Own::new(&[("test.twin", &numbered(0, 7))]);
    assert!(own.message().starts_with("FOLDER/train.twin cannot be read"), "{}", own.message());
    let file = prepare(&request(Kind::File, &own.0.path().join("test.twin"))).expect_err("a file").to_string();
    assert!(file.contains("put train.twin, test.twin and, if you like, validation.twin into one"), "{file}");

    let quantised = InputSet::new(Encoding::Quantised, 10, vec![1], vec![0; 20], vec![0; 20]).expect("fits");
    let own = Own::new(&[("train.twin", &quantised), ("test.twin", &quantised)]);
    assert!(own.message().contains("training needs plain bytes"), "{}", own.message());
}

#[test]
fn a_test_input_among_the_training_inputs_is_refused() {
    let own = Own::new(&[("train.twin", &numbered(0, 30)), ("test.twin", &numbered(28, 5))]);
    assert_eq!(
        own.message(),
        "FOLDER/train.twin holds as input 28 what test.twin holds as input 0: a model must not be trained on what it is \
         tested with; take such inputs out of one of the files"
    );
    let (train, test) = (numbered(0, 30), numbered(40, 5));
    let own = Own::new(&[("train.twin", &train), ("validation.twin", &test), ("test.twin", &test)]);
    assert!(own.message().starts_with("FOLDER/validation.twin holds as input 0"), "{}", own.message());
    let other = InputSet::new(Encoding::Plain, 9, vec![2], vec![0; 5], vec![9; 10]).expect("fits");
    let own = Own::new(&[("train.twin", &other), ("test.twin", &test)]);
    assert!(
        own.message().starts_with("FOLDER/train.twin has another encoding, class count or shape"),
        "{}",
        own.message()
    );
}

proptest! {
    #[test]
    fn no_input_is_in_two_parts_and_none_is_lost(count in 10u16..400, name in "[a-z]{1,8}") {
        let pool = numbered(0, count);
        let order = order(&name, count.into());
        let (validation, train) = order.split_at(validation_count(count.into()));
        let train = taken(&pool, train, None, Kind::File, Part::Train).expect("all");
        let validation = taken(&pool, validation, None, Kind::File, Part::Validation).expect("all");
        let mut all = [inputs(&train), inputs(&validation)].concat();
        prop_assert!(inputs(&train).is_sorted_by_key(|input| u16::from_le_bytes([input[0], input[1]])));
        all.sort_unstable_by_key(|input| u16::from_le_bytes([input[0], input[1]]));
        prop_assert_eq!(all, inputs(&pool));
    }
}
