//! Links every payload at the fixed address that `payload.ld` gives.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/payload.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    // An enclave's base is a multiple of its size.
    println!("cargo:rustc-link-arg-bin=enclosed=-Wl,--defsym=payload_base=0x40000000");
    println!(
        "cargo:rustc-link-arg-bins=-Wl,-z,max-page-size=4096,-z,noexecstack,--gc-sections,--strip-all"
    );
}
