//! The committed bindings are what the `.proto` files say. `TINYWATT_BLESS=1 cargo test -p tinywatt-proto` writes them anew.

use std::path::Path;

const FILES: [&str; 5] = ["node", "telemetry", "trial", "artifact", "control"];

#[test]
fn committed_bindings_match_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = FILES.map(|name| root.join(format!("tinywatt/v1/{name}.proto")));
    let descriptors = protox::compile(files, [root]).expect("the proto files compile");

    let generated = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure()
        .bytes(".tinywatt.v1.SampleBatch.columns")
        .out_dir(generated.path())
        .compile_fds(descriptors)
        .expect("bindings are generated");
    let fresh = std::fs::read_to_string(generated.path().join("tinywatt.v1.rs")).expect("the generated file");

    let committed_path = root.join("src/gen/tinywatt.v1.rs");
    if std::env::var_os("TINYWATT_BLESS").is_some() {
        std::fs::write(&committed_path, &fresh).expect("the bindings are written");
    }
    let committed = std::fs::read_to_string(&committed_path).unwrap_or_default();
    assert!(
        fresh == committed,
        "{} is stale: run `TINYWATT_BLESS=1 cargo test -p tinywatt-proto --test bindings_are_fresh` and commit it",
        committed_path.display()
    );
}
