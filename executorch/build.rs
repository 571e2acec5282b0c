//! Builds the bridge to ExecuTorch's C++ interface, and tells the linker where the libraries are.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "executorch")]
    linked::build();
}

#[cfg(feature = "executorch")]
#[path = "../agent/src/inference/package.rs"]
#[expect(unreachable_pub, reason = "a library's file, whose function is public there")]
mod package;

#[cfg(feature = "executorch")]
mod linked {
    use std::path::PathBuf;

    /// Its wheel has libraries that need neither Python nor PyTorch (that of 1.2 has not); headers and libraries of
    /// a release belong together, and `bridge.cpp` declares one class that they leave out.
    const VERSION: &str = "1.5.1";

    /// The kernels and XNNPACK register themselves when they are loaded. Nobody calls them by name, so that a linker
    /// would leave them out.
    const LIBRARIES: [&str; 5] = [
        "executorch",
        "executorch_threadpool",
        "executorch_backend_xnnpack",
        "executorch_kernels_optimized",
        "executorch_kernels_quantized",
    ];

    pub(super) fn build() {
        println!("cargo::rerun-if-env-changed=EXECUTORCH");
        println!("cargo::rerun-if-changed=src/bridge.cpp");
        println!("cargo::rerun-if-changed=../agent/src/inference/package.rs");
        let Some(folder) = std::env::var_os("EXECUTORCH").map(PathBuf::from) else {
            println!(
                "cargo::error=EXECUTORCH is not set: let it name the folder that `executorch/fetch` fetches, ExecuTorch \
                 {VERSION}"
            );
            return;
        };
        match super::package::version(&folder) {
            Some(version) if version.split('+').next() == Some(VERSION) => {
                println!("cargo::rustc-env=TINYWATT_EXECUTORCH_VERSION={version}");
            }
            found => {
                println!(
                    "cargo::error=EXECUTORCH names {}, which is executorch {}: {VERSION} is needed, which `executorch/fetch` fetches",
                    folder.display(),
                    found.as_deref().unwrap_or("of no known version (no version.py)")
                );
                return;
            }
        }
        let include = folder.join("include");
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .file("src/bridge.cpp")
            // As a system's headers, whose warnings are none of ours.
            .flag(format!("-isystem{}", include.display()))
            .flag(format!("-isystem{}", include.join("executorch/runtime/core/portable_type/c10").display()))
            .define("C10_USING_CUSTOM_GENERATED_MACROS", None)
            .compile("tinywatt_executorch_bridge");
        // The program finds the libraries where they were found now, without LD_LIBRARY_PATH.
        let place = folder.join("lib").display().to_string();
        let libraries = LIBRARIES.map(|library| format!("-l{library}")).join(",");
        println!("cargo::rustc-link-arg=-L{place}");
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,{libraries},--pop-state");
        println!("cargo::rustc-link-arg=-Wl,-rpath,{place}");
    }
}
