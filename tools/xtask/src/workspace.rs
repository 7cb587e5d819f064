//! Where the workspace is, what cargo says about it, and how cargo is called.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The workspace that this tool belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace two folders above this tool's own manifest.
    ///
    /// `cargo run` names the manifest at run time; the path known at compile time serves a binary
    /// that is started by hand.
    pub(crate) fn locate() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .ancestors()
            .nth(2)
            .with_context(|| format!("no workspace above `{}`", manifest.display()))?;
        Ok(Self { root: root.into() })
    }

    /// The folder of the root manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo that runs this tool, working in the root folder.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        clear_own_package(&mut command);
        command
    }

    /// As [`cargo`](Self::cargo), for builds that are not measured: librdkafka, which is C, is compiled
    /// without optimization and debug information, unless `CFLAGS` says otherwise. That takes less
    /// than half the time.
    pub(crate) fn cargo_for_tests(&self) -> Command {
        let mut command = self.cargo();
        if env::var_os("CFLAGS").is_none() {
            command.env("CFLAGS", "-O0 -g0");
        }
        command
    }

    /// The packages of the workspace, as cargo reads their manifests.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        Ok(self.metadata()?.packages)
    }

    /// The folder that everything is built in.
    pub(crate) fn target(&self) -> Result<PathBuf> {
        Ok(self.metadata()?.target_directory)
    }

    fn metadata(&self) -> Result<Metadata> {
        let args = ["metadata", "--no-deps", "--format-version", "1"];
        let text = self.cargo_output(&args)?;
        serde_json::from_str(&text).context("`cargo metadata` answered with JSON of another shape")
    }

    /// The package at the root: the library that users depend on.
    pub(crate) fn library(&self) -> Result<Package> {
        let manifest = self.root.join("Cargo.toml");
        self.packages()?
            .into_iter()
            .find(|package| package.manifest_path == manifest)
            .with_context(|| format!("`{}` declares no package", manifest.display()))
    }

    /// Runs cargo and hands back what it wrote to its standard output.
    pub(crate) fn cargo_output(&self, args: &[&str]) -> Result<String> {
        let output = self
            .cargo()
            .args(args)
            .output()
            .with_context(|| format!("`cargo {}` did not start", args.join(" ")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`cargo {}` failed ({}): {}",
                args.join(" "),
                output.status,
                said.trim()
            );
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`cargo {}` wrote bytes that are not UTF-8", args.join(" ")))
    }
}

/// Removes what `cargo run` told this process about its own package, so that no child takes it
/// for a description of itself.
pub(crate) fn clear_own_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(describes_a_package) {
            command.env_remove(name);
        }
    }
}

/// Whether cargo sets this variable to describe the package that it runs.
fn describes_a_package(variable: &str) -> bool {
    let single = [
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "OUT_DIR",
    ];
    variable.starts_with("CARGO_PKG_")
        || variable.starts_with("CARGO_MANIFEST_")
        || single.contains(&variable)
}

/// One package of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
}

/// One thing that cargo builds from a package.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_library_and_this_tool() {
        let workspace = Workspace::locate().unwrap();
        let library = workspace.library().unwrap();
        assert_eq!(library.name, "tidings");
        assert!(library.features.contains_key("default"));
        let packages = workspace.packages().unwrap();
        assert!(packages.iter().any(|package| package.name == "xtask"));
    }

    #[test]
    fn settings_of_the_user_are_passed_on() {
        for own in ["CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR", "OUT_DIR"] {
            assert!(describes_a_package(own), "{own}");
        }
        for setting in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_HOME",
            "RUSTFLAGS",
            "PATH",
        ] {
            assert!(!describes_a_package(setting), "{setting}");
        }
    }

    #[test]
    fn a_failing_cargo_command_is_named() {
        let workspace = Workspace::locate().unwrap();
        let error = workspace.cargo_output(&["no-such-command"]).unwrap_err();
        assert!(
            error.to_string().contains("cargo no-such-command"),
            "{error}"
        );
    }
}
