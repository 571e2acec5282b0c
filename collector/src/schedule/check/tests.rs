//! A good submission, spoilt in one way at a time.

use tinywatt_proto::ids::BootId;

use super::*;

const MODEL: Sha256 = Sha256([1; 32]);
const INPUTS: Sha256 = Sha256([2; 32]);

fn artifact(sha256: Sha256, name: &str) -> Option<v1::ArtifactRef> {
    Some(v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes: 1, name: name.to_owned() })
}

fn good() -> v1::SubmitRequest {
    let inference = v1::InferenceWorkload {
        runtime: "litert".to_owned(),
        model: artifact(MODEL, "cnn.tflite"),
        inputs: artifact(INPUTS, "digits"),
        thread_count: 1,
        idle_ns: 1_000_000_000,
        active_ns: 1_000_000_000,
        input_scale: 1.0,
        ..Default::default()
    };
    let treatment =
        v1::Treatment { name: "cnn".to_owned(), workload: Some(Workload::Inference(inference)), ..Default::default() };
    let design = v1::Design {
        experiment: "digits".to_owned(),
        nodes: vec!["pi".to_owned()],
        replicate_count: 1,
        attempt_count_max: 3,
        ..Default::default()
    };
    v1::SubmitRequest { treatments: vec![treatment], design: Some(design), ..Default::default() }
}

fn pi() -> NodeRow {
    let channel = v1::Channel { name: "rail".to_owned(), sample_period_ns: 1_000_000, ..Default::default() };
    let runtime = v1::Runtime { name: "litert".to_owned(), version: "1".to_owned() };
    NodeRow {
        node: "pi".parse().expect("a name"),
        agent_version: String::new(),
        capabilities: v1::Capabilities { channels: vec![channel], runtimes: vec![runtime], ..Default::default() },
        last_seen_unix_ns: 0,
        boot: BootId::random(),
    }
}

fn inference(request: &mut v1::SubmitRequest) -> &mut v1::InferenceWorkload {
    match &mut request.treatments[0].workload {
        Some(Workload::Inference(inference)) => inference,
        other => panic!("{other:?}"),
    }
}

/// Spoils a good submission, and expects one problem with each of the words.
#[track_caller]
fn expect_problem(spoil: impl FnOnce(&mut v1::SubmitRequest, &mut NodeRow), words: &[&str]) {
    let (mut request, mut node) = (good(), pi());
    spoil(&mut request, &mut node);
    let problems = check(&request, &[node], |sha256| sha256 == MODEL || sha256 == INPUTS);
    assert_eq!(problems.len(), 1, "{problems:?}");
    for word in words {
        assert!(problems[0].contains(word), "'{word}' is not in '{}'", problems[0]);
    }
}

fn design(request: &mut v1::SubmitRequest) -> &mut v1::Design {
    request.design.as_mut().expect("it has one")
}

#[test]
fn a_good_submission_has_no_problem() {
    assert_eq!(check(&good(), &[pi()], |_| true), [""; 0]);
}

#[test]
fn an_unknown_node_is_named_with_those_that_are_known() {
    expect_problem(|request, _| design(request).nodes = vec!["pie".to_owned()], &["pie", "(pi)"]);
}

#[test]
fn zero_replicates_and_zero_attempts_are_refused() {
    expect_problem(|request, _| design(request).replicate_count = 0, &["replicates: 0"]);
    expect_problem(|request, _| design(request).attempt_count_max = 0, &["attempts: 0"]);
    expect_problem(|request, _| design(request).attempt_count_max = 11, &["attempts: 11", "1 to 10"]);
}

#[test]
fn an_endless_list_is_refused() {
    expect_problem(|request, _| design(request).replicate_count = u32::MAX, &["4294967295 trials", "20000"]);
}

#[test]
fn a_window_shorter_than_the_sensor_allows_names_the_least() {
    expect_problem(|request, _| inference(request).active_ns = 99_000_000, &["cnn", "99ms", "rail", "100ms or more"]);
    expect_problem(|request, _| inference(request).idle_ns = 0, &["cnn", "an idle window of 0s", "pi"]);
}

#[test]
fn a_channel_must_exist_and_be_the_only_one_or_named() {
    expect_problem(|request, _| design(request).channel = "gpu".to_owned(), &["pi", "'gpu'", "rail"]);
    expect_problem(|_, node| node.capabilities.channels.clear(), &["pi", "[[sensor]]"]);
    let second = |node: &mut NodeRow| {
        let channel = v1::Channel { name: "gpu".to_owned(), ..Default::default() };
        node.capabilities.channels.push(channel);
    };
    expect_problem(|_, node| second(node), &["several", "rail, gpu"]);
    let mut node = pi();
    second(&mut node);
    let mut request = good();
    design(&mut request).channel = "rail".to_owned();
    assert_eq!(check(&request, &[node], |_| true), [""; 0]);
}

#[test]
fn a_missing_runtime_tells_what_is_there() {
    expect_problem(|request, _| inference(request).runtime = "torch".to_owned(), &["pi", "'torch'", "litert"]);
    expect_problem(|_, node| node.capabilities.runtimes.clear(), &["'litert'", "none", "agent check"]);
}

#[test]
fn a_missing_artifact_is_named() {
    let other = artifact(Sha256([3; 32]), "lost.tflite");
    expect_problem(|request, _| inference(request).model = other, &["cnn", "model lost.tflite", "0303"]);
    expect_problem(|request, _| inference(request).inputs = None, &["cnn", "input set"]);
}

#[test]
fn names_must_be_unique() {
    expect_problem(|request, _| request.treatments.push(request.treatments[0].clone()), &["'cnn'", "twice"]);
    expect_problem(|request, _| design(request).experiment = "Digits!".to_owned(), &["'Digits!'", "a-z"]);
    expect_problem(|request, _| design(request).experiment = "x".repeat(49), &["1 to 48"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    expect_problem(|request, _| inference(request).thread_count = 0, &["cnn", "threads"]);
    expect_problem(|request, _| inference(request).input_scale = f64::NAN, &["cnn", "NaN"]);
    expect_problem(|request, _| request.treatments[0].workload = None, &["cnn", "neither"]);
}

#[test]
fn all_problems_come_at_once() {
    let mut request = good();
    design(&mut request).replicate_count = 0;
    inference(&mut request).thread_count = 0;
    inference(&mut request).idle_ns = 0;
    assert_eq!(check(&request, &[pi()], |_| false).len(), 5);
}

#[test]
fn a_recording_needs_no_channel() {
    let mut request = good();
    let replay = v1::ReplayWorkload { trace: artifact(MODEL, "trace") };
    request.treatments[0].workload = Some(Workload::Replay(replay));
    let mut node = pi();
    node.capabilities.channels.clear();
    node.capabilities.runtimes[0].name = "replay".to_owned();
    assert_eq!(check(&request, &[node], |_| true), [""; 0]);
}

// === jobs ===

/// One that trains on a host, one that optimises there, and a node that executes what comes of it.
fn study() -> (v1::SubmitRequest, [NodeRow; 2]) {
    let job = |kind: v1::JobKind, inputs| v1::JobWorkload {
        kind: kind.into(),
        command: vec!["trainer".to_owned()],
        config_json: "{}".to_owned(),
        inputs,
        thread_count: 1,
        device: v1::JobDevice::Cpu.into(),
        idle_ns: 1_000_000_000,
        time_limit_ns: 1_000_000_000,
        output_bytes_max: 1,
        ..Default::default()
    };
    let treatment = |name: &str, job| v1::Treatment {
        name: name.to_owned(),
        nodes: vec!["host".to_owned()],
        workload: Some(Workload::Job(job)),
        ..Default::default()
    };
    let train = artifact(INPUTS, "train").map(v1::job_input::Source::Artifact);
    let parent = v1::job_input::Source::Produced(produced("train", "checkpoint"));
    let input = |name: &str, source| v1::JobInput { name: name.to_owned(), source };
    let mut request = good();
    let model = inference(&mut request);
    model.model = None;
    model.model_from = Some(produced("optimise", "model"));
    request.treatments.push(treatment("train", job(v1::JobKind::Train, vec![input("train", train)])));
    let optimise = job(v1::JobKind::Optimise, vec![input("parent", Some(parent))]);
    request.treatments.push(treatment("optimise", optimise));
    let mut host = pi();
    host.node = "host".parse().expect("a name");
    host.capabilities.runtimes[0].name = "job".to_owned();
    (request, [pi(), host])
}

fn produced(treatment: &str, role: &str) -> v1::Produced {
    v1::Produced { treatment: treatment.to_owned(), role: role.to_owned() }
}

fn job(request: &mut v1::SubmitRequest, index: usize) -> &mut v1::JobWorkload {
    match &mut request.treatments[index].workload {
        Some(Workload::Job(job)) => job,
        other => panic!("{other:?}"),
    }
}

/// Spoils a good study, and expects one problem with each of the words.
#[track_caller]
fn expect_job_problem(spoil: impl FnOnce(&mut v1::SubmitRequest, &mut NodeRow), words: &[&str]) {
    let (mut request, [pi, mut host]) = study();
    spoil(&mut request, &mut host);
    let problems = check(&request, &[pi, host], |sha256| sha256 == INPUTS);
    assert_eq!(problems.len(), 1, "{problems:?}");
    for word in words {
        assert!(problems[0].contains(word), "'{word}' is not in '{}'", problems[0]);
    }
}

#[test]
fn a_good_study_has_no_problem() {
    let (request, nodes) = study();
    assert_eq!(check(&request, &nodes, |_| true), [""; 0]);
}

#[test]
fn a_job_has_one_node_that_executes_jobs() {
    expect_job_problem(|_, host| host.capabilities.runtimes.clear(), &["host", "'job'", "[jobs]", "enabled = true"]);
    let two = vec!["host".to_owned(), "pi".to_owned()];
    let (mut request, nodes) = study();
    request.treatments[1].nodes = two;
    let problems = check(&request, &nodes, |_| true).join("\n");
    assert!(problems.contains("train: a job is executed on exactly one node"), "{problems}");
    assert!(problems.contains("pi: it cannot execute 'job'"), "{problems}");
    expect_job_problem(
        |request, _| request.treatments[1].nodes = vec!["cloud".to_owned()],
        &["cloud: no such node", "(pi, host)"],
    );
    expect_job_problem(|request, _| job(request, 1).device = v1::JobDevice::Gpu.into(), &["host", "no GPU", "'train'"]);
    let (mut request, mut nodes) = study();
    job(&mut request, 1).device = v1::JobDevice::Gpu.into();
    let machine = v1::Machine { gpus: vec!["H100".to_owned()], ..Default::default() };
    nodes[1].capabilities.machine = Some(machine);
    assert_eq!(check(&request, &nodes, |_| true), [""; 0]);
}

#[test]
fn a_job_must_be_able_to_end_well() {
    expect_job_problem(|request, _| job(request, 1).time_limit_ns = 0, &["train", "time limit of 0"]);
    expect_job_problem(|request, _| job(request, 1).output_bytes_max = 0, &["train", "0 bytes"]);
    expect_job_problem(|request, _| job(request, 1).thread_count = 0, &["train", "0 threads"]);
    expect_job_problem(|request, _| job(request, 1).command.clear(), &["train", "no command"]);
    expect_job_problem(|request, _| job(request, 1).kind = 0, &["train", "optimises or builds"]);
    expect_job_problem(|request, _| job(request, 1).device = 0, &["train", "CPU or a GPU"]);
    expect_job_problem(|request, _| job(request, 1).config_json = "[]".to_owned(), &["train", "JSON object"]);
    expect_job_problem(|request, _| job(request, 1).inputs[0].source = None, &["train", "'train' comes from nowhere"]);
    expect_job_problem(
        |request, _| {
            let again = job(request, 1).inputs[0].clone();
            job(request, 1).inputs.push(again);
        },
        &["train", "'train' is there twice"],
    );
    let lost = artifact(Sha256([3; 32]), "lost.twin").map(v1::job_input::Source::Artifact);
    expect_job_problem(|request, _| job(request, 1).inputs[0].source = lost, &["train", "input 'train' lost.twin"]);
}

#[test]
fn what_is_needed_must_be_made_by_a_job() {
    let from = |treatment: &str, role: &str| Some(produced(treatment, role));
    expect_job_problem(
        |request, _| inference(request).model_from = from("gone", "model"),
        &["cnn", "'gone'", "not here"],
    );
    expect_job_problem(|request, _| inference(request).model_from = from("train", ""), &["cnn", "says not what"]);
    expect_job_problem(
        |request, _| inference(request).model = artifact(INPUTS, "m"),
        &["cnn", "leave one of them out"],
    );
    let itself = |treatment: &str| Some(v1::job_input::Source::Produced(produced(treatment, "model")));
    expect_job_problem(|request, _| job(request, 2).inputs[0].source = itself("cnn"), &["optimise", "'cnn'", "no job"]);
}

#[test]
fn a_circle_of_jobs_is_named() {
    let source = Some(v1::job_input::Source::Produced(produced("optimise", "model")));
    let input = v1::JobInput { name: "teacher".to_owned(), source };
    expect_job_problem(|request, _| job(request, 1).inputs.push(input), &["optimise, train: each waits", "circle"]);
}

#[test]
fn a_time_limit_below_what_the_channel_can_tell_is_refused() {
    expect_job_problem(|request, _| job(request, 1).time_limit_ns = 50_000_000, &["train", "a time limit of 50ms"]);
}

#[test]
fn every_channel_of_a_job_is_there_and_fast_enough() {
    let named = |request: &mut v1::SubmitRequest, further: &str| {
        for treatment in &mut request.treatments[1..] {
            treatment.channel = "rail".to_owned();
            treatment.further_channels = vec![further.to_owned()];
        }
    };
    expect_job_problem(|request, _| named(request, "gpu"), &["host", "no channel 'gpu'", "rail"]);
    expect_job_problem(
        |request, _| job(request, 1).idle_ns = 99_000_000,
        &["train", "an idle window of 99ms", "100ms"],
    );
    let slow = v1::Channel {
        name: "gpu".to_owned(),
        sample_period_ns: 1_000_000,
        scale: Some(v1::channel::Scale::Counter(v1::CounterScale {
            update_period_ns: 20_000_000,
            ..Default::default()
        })),
        ..Default::default()
    };
    let (mut request, mut nodes) = study();
    named(&mut request, "gpu");
    nodes[1].capabilities.channels.push(slow);
    let problems = check(&request, &nodes, |_| true);
    // Idle windows and time limits of both jobs.
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems[0].contains("channel 'gpu' of host, which gives a reading every 20ms: use 3s 348ms or more"));
}

#[test]
fn channels_that_hold_each_others_joules_are_refused_all_at_once() {
    let channel = |(name, rail): &(&str, &str)| v1::Channel {
        name: (*name).to_owned(),
        rail: (*rail).to_owned(),
        sample_period_ns: 1_000_000,
        ..Default::default()
    };
    let host = [
        ("package", "machine/processors/package-0"),
        ("core", "machine/processors/package-0/core"),
        ("dram", "machine/memory/package-0"),
        ("psys", "machine"),
        ("index", "machine/gpus/GPU-0"),
        ("uuid", "machine/gpus/GPU-0"),
        ("old", ""),
        ("older", ""),
    ];
    let check_channels = |of_training: &[&str], of_optimising: &[&str]| {
        let (mut request, mut nodes) = study();
        nodes[1].capabilities.channels = host.iter().map(channel).collect();
        for (treatment, names) in request.treatments[1..].iter_mut().zip([of_training, of_optimising]) {
            treatment.channel = names[0].to_owned();
            treatment.further_channels = names[1..].iter().map(|name| (*name).to_owned()).collect();
        }
        check(&request, &nodes, |_| true)
    };
    for beside in [&["package", "dram", "uuid", "old"][..], &["old", "older"], &["core", "dram"], &["psys", "old"]] {
        assert_eq!(check_channels(beside, beside), [""; 0], "{beside:?}");
    }
    let problems = check_channels(&["package", "core", "dram"], &["core", "package"]);
    let expected = "host: channel 'core' (machine/processors/package-0/core) is already in channel 'package' \
                    (machine/processors/package-0): added up, its joules would count twice; name one of the two";
    assert_eq!(problems, [expected], "once, however many jobs and other channels");
    let problems = check_channels(&["package", "core", "psys"], &["index", "uuid"]);
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("'index' and 'uuid' both measure machine/gpus/GPU-0")));
    let problems = check_channels(&["old", "old"], &["old", "older", "core", "old"]);
    let twice = "host: channel 'old' is named twice, and its energy would count twice: name each channel once";
    assert_eq!(problems, [twice]);
}

#[test]
fn channels_of_different_kinds_are_refused_before_hours_are_spent() {
    let (mut request, mut nodes) = study();
    let channel = |name: &str, kind: v1::FigureKind| v1::Channel {
        name: name.to_owned(),
        kind: kind.into(),
        sample_period_ns: 1_000_000,
        ..Default::default()
    };
    let channels = [channel("gpu", v1::FigureKind::Measured), channel("model", v1::FigureKind::Estimated)];
    nodes[1].capabilities.channels = channels.to_vec();
    request.treatments[1].channel = "gpu".to_owned();
    request.treatments[2].channel = "model".to_owned();
    assert_eq!(check(&request, &nodes, |_| true), [""; 0], "each for itself");
    request.treatments[1].further_channels = vec!["model".to_owned()];
    let problems = check(&request, &nodes, |_| true);
    assert!(
        problems.len() == 1 && problems[0].starts_with("host: channels gpu, model are of different"),
        "{problems:?}"
    );
}

#[test]
fn a_carbon_intensity_must_be_one() {
    let carbon = |intensity_g_per_kwh, pue| Some(v1::Carbon { intensity_g_per_kwh, pue, source: "x".to_owned() });
    expect_problem(|request, _| design(request).carbon = carbon(0.0, 1.0), &["carbon", "0 g/kWh"]);
    expect_problem(|request, _| design(request).carbon = carbon(f64::NAN, 1.0), &["carbon", "NaN g/kWh"]);
    expect_problem(|request, _| design(request).carbon = carbon(380.0, 0.5), &["carbon", "PUE of 0.5"]);
}

#[test]
fn jobs_count_once_for_each_replicate() {
    let (mut request, nodes) = study();
    design(&mut request).replicate_count = 7_000;
    let problems = check(&request, &nodes, |_| true);
    assert!(problems.len() == 1 && problems[0].contains("21000 trials"), "{problems:?}");
}

#[test]
fn trials_are_counted_on_the_nodes_of_their_treatments() {
    // One node in the design, and a treatment on two others: its own nodes replace that of the design.
    let (mut request, nodes) = study();
    request.treatments[0].nodes = vec!["pi".to_owned(), "host".to_owned(), "cloud".to_owned()];
    design(&mut request).replicate_count = 4_000;
    let of_trials = |request: &v1::SubmitRequest| {
        check(request, &nodes, |_| true).into_iter().find(|problem| problem.contains(" trials, more than"))
    };
    assert_eq!(of_trials(&request), None, "20,000 are allowed");
    design(&mut request).replicate_count = 4_001;
    assert!(of_trials(&request).is_some_and(|problem| problem.contains("20005 trials")));
    let design = design(&mut request);
    design.nodes = vec!["pi".to_owned(), "host".to_owned()];
    assert!(of_trials(&request).is_some_and(|problem| problem.contains("20005 trials")), "nobody is left to them");
    let planned = crate::schedule::plan(
        &v1::Design { replicate_count: 1, ..request.design.clone().expect("set") },
        &request.treatments,
    );
    assert_eq!(planned.len() * 4_001, 20_005, "as many as the plan lays");
}
