//! Compiles what boots: the monitor and the payloads freestanding, the programs of domain 0 static.
//!
//! Each kind has a build directory of its own, so that its flags do not throw away the artefacts
//! of another. The target triple is always given: flags then do not reach build scripts.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::progress;
use crate::workspace::Workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Flags for code that runs without an operating system. Link arguments are each package's own
/// (its `build.rs`), since the monitor and a payload are linked to different places.
const FREESTANDING_FLAGS: &str = "-C relocation-model=static -C code-model=small \
     -C no-redzone=yes -C panic=abort --cfg curve25519_dalek_backend=\"serial\"";

/// Flags for programs in the initrd, which has no libraries.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static -C strip=symbols";

/// Packages that run without an operating system.
const FREESTANDING_PACKAGES: &[&str] = &[MONITOR, PAYLOADS];
const MONITOR: &str = "adyton-monitor";
const PAYLOADS: &str = "adyton-payloads";

/// Packages whose programs run in domain 0.
const STATIC_PACKAGES: &[&str] = &["adyton-cli", "adyton-guest-tests", "adyton-demo"];

/// What was built.
pub struct Programs {
    /// The monitor, if it was asked for.
    pub monitor: Option<PathBuf>,
    /// The monitor that misbehaves when it is asked to, for tests, if it was asked for.
    pub monitor_under_test: Option<PathBuf>,
    /// ELF images that domains run.
    pub payloads: Vec<PathBuf>,
    /// Programs that domain 0 runs.
    pub programs: Vec<PathBuf>,
}

impl Programs {
    /// Every file that was built.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.monitor
            .iter()
            .chain(&self.payloads)
            .chain(&self.programs)
    }
}

/// Which monitors to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Monitors {
    /// The product.
    pub product: bool,
    /// The one with the feature `selfcheck`.
    pub under_test: bool,
}

impl Monitors {
    /// The product alone.
    pub const PRODUCT: Self = Self {
        product: true,
        under_test: false,
    };
}

/// Builds everything that boots, of the monitors those that some boot has. Cargo decides what has to be done again.
pub fn everything(workspace: &Workspace, monitors: Monitors) -> Result<Programs> {
    let binaries = Binaries::of(workspace)?;
    let freestanding = Kind {
        folder: workspace.target("freestanding"),
        profile: "release",
        flags: freestanding_flags(&cargo_home()?),
        features: &[],
    };
    let under_test = Kind {
        folder: workspace.target("under-test"),
        features: &["selfcheck"],
        ..freestanding.clone()
    };
    let hosted = Kind {
        folder: workspace.target("static"),
        profile: "program",
        flags: STATIC_FLAGS.to_owned(),
        features: &[],
    };
    let packages = |names: &[&'static str]| -> Vec<&'static str> {
        names
            .iter()
            .copied()
            .filter(|name| !binaries.named(name).is_empty())
            .collect()
    };
    // The monitor and the payloads are built one after the other: in one command Cargo would
    // unite the features of the dependencies that both have.
    let wanted = |package: &&str| monitors.product || *package != MONITOR;
    for package in packages(FREESTANDING_PACKAGES).into_iter().filter(wanted) {
        freestanding.build(workspace, &[package])?;
    }
    if monitors.under_test {
        under_test.build(workspace, &[MONITOR])?;
    }
    hosted.build(workspace, &packages(STATIC_PACKAGES))?;
    let collect = |kind: &Kind, names: &[&str]| -> Vec<PathBuf> {
        names
            .iter()
            .flat_map(|name| binaries.named(name))
            .map(|binary| kind.folder.join(TARGET).join(kind.profile).join(binary))
            .collect()
    };
    let monitor = |built: bool, kind: &Kind| collect(kind, &[MONITOR]).pop().filter(|_| built);
    Ok(Programs {
        monitor: monitor(monitors.product, &freestanding),
        monitor_under_test: monitor(monitors.under_test, &under_test),
        payloads: collect(&freestanding, &["adyton-payloads"]),
        programs: collect(&hosted, STATIC_PACKAGES),
    })
}

/// Where Cargo keeps the sources of dependencies.
pub fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// The flags of freestanding code. Where dependencies lie must not be seen in what is built.
fn freestanding_flags(home: &Path) -> String {
    format!(
        "{FREESTANDING_FLAGS} --remap-path-prefix={}=/cargo",
        home.display()
    )
}

/// Builds the monitor from the sources in `source`, with a Cargo home of its own.
pub fn monitor_elsewhere(
    workspace: &Workspace,
    source: &Path,
    home: &Path,
    target: &Path,
) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command
        .current_dir(source)
        .args([
            "build",
            "--quiet",
            "--offline",
            "--profile",
            "release",
            "--bins",
        ])
        .args(["--target", TARGET, "--package", MONITOR])
        .env("CARGO_HOME", home)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", freestanding_flags(home))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    ensure!(command.status()?.success(), "the second build failed");
    Ok(target.join(TARGET).join("release/monitor"))
}

/// One way to compile, with the folder where its artefacts are kept.
#[derive(Clone)]
struct Kind {
    folder: PathBuf,
    profile: &'static str,
    flags: String,
    features: &'static [&'static str],
}

impl Kind {
    fn build(&self, workspace: &Workspace, packages: &[&str]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut command = workspace.cargo();
        command
            .args([
                "build",
                "--quiet",
                "--profile",
                self.profile,
                "--bins",
                "--target",
                TARGET,
            ])
            .env("CARGO_TARGET_DIR", &self.folder)
            .env("RUSTFLAGS", &self.flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        for package in packages {
            command.args(["--package", package]);
        }
        for feature in self.features {
            command.args(["--features", feature]);
        }
        let what = format!("building {}", packages.join(", "));
        let status = if is_first(&self.folder, self.profile) {
            progress::step(&what, || command.status())?
        } else {
            command.status()?
        };
        ensure!(status.success(), "{what} failed");
        Ok(())
    }
}

/// The first build takes long enough to be announced.
fn is_first(folder: &Path, profile: &str) -> bool {
    !folder
        .join(TARGET)
        .join(profile)
        .join(".fingerprint")
        .exists()
}

/// The workspace's packages and the names of their binaries, as Cargo tells them.
struct Binaries(Value);

impl Binaries {
    fn of(workspace: &Workspace) -> Result<Self> {
        let output = workspace
            .cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .output()?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self(
            serde_json::from_slice(&output.stdout).context("cargo metadata")?,
        ))
    }

    /// The names of a package's binaries; none when there is no such package.
    fn named(&self, package: &str) -> Vec<String> {
        let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
        entries(&self.0["packages"])
            .iter()
            .filter(|candidate| candidate["name"] == package)
            .flat_map(|found| entries(&found["targets"]))
            .filter(|target| entries(&target["kind"]).iter().any(|kind| kind == "bin"))
            .filter_map(|target| target["name"].as_str().map(str::to_owned))
            .collect()
    }
}
