//! Builds the bridge to what tch leaves out, tells the linker where PyTorch's libraries are, and the programs which version
//! they are.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "torch")]
    linked::build();
}

#[cfg(feature = "torch")]
#[path = "../agent/src/inference/package.rs"]
#[expect(unreachable_pub, reason = "a library's file, whose function is public there")]
mod package;

#[cfg(feature = "torch")]
mod linked {
    use std::path::PathBuf;

    const ADVICE: &str = "let it name PyTorch's folder, …/site-packages/torch of an environment that has torch 2.11";

    pub(super) fn build() {
        println!("cargo::rerun-if-env-changed=LIBTORCH");
        println!("cargo::rerun-if-changed=src/bridge.cpp");
        println!("cargo::rerun-if-changed=../agent/src/inference/package.rs");
        let Some(folder) = std::env::var_os("LIBTORCH").map(PathBuf::from) else {
            println!("cargo::error=LIBTORCH is not set: {ADVICE}");
            return;
        };
        let Some(version) = super::package::version(&folder) else {
            let folder = folder.display();
            println!(
                "cargo::error=LIBTORCH names {folder}, where neither version.py nor build-version says which PyTorch it is: {ADVICE}"
            );
            return;
        };
        for file in ["version.py", "build-version"].map(|name| folder.join(name)) {
            if file.exists() {
                println!("cargo::rerun-if-changed={}", file.display());
            }
        }
        println!("cargo::rustc-env=TINYWATT_TORCH_VERSION={version}");
        cc::Build::new()
            .cpp(true)
            .std("c++20")
            .file("src/bridge.cpp")
            // As a system's headers, whose warnings are none of ours.
            .flag(format!("-isystem{}", folder.join("include").display()))
            .compile("tinywatt_torch_bridge");
        // The programs find the libraries where they were found now, without LD_LIBRARY_PATH.
        let beside = folder.parent().map(|packages| packages.join("nvidia/cu13/lib"));
        for place in std::iter::once(folder.join("lib")).chain(beside.filter(|place| place.exists())) {
            println!("cargo::rustc-link-arg=-Wl,-rpath,{}", place.display());
        }
    }
}
