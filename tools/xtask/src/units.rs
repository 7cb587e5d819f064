//! The test programs that cargo built, and how each is started.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    process::command_line,
    workspace::{Package, Workspace, clear_own_package},
};

/// One test binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    package: String,
    version: String,
    folder: PathBuf,
    target: String,
    /// The library or binary's own tests, as against a file of `tests/`.
    inner: bool,
    /// Features without which it is not built.
    required: Vec<String>,
    executable: PathBuf,
}

impl Unit {
    /// What a reader calls it: `tidings-memory tests/conformance`, `tidings unit tests`.
    pub(crate) fn label(&self) -> String {
        if self.inner {
            format!("{} unit tests", self.package)
        } else {
            format!("{} tests/{}", self.package, self.target)
        }
    }

    /// Whether it runs the compiler over files of mistakes. Such tests are files of `tests/` named
    /// `ui` or `ui_…`; they compile anew on every run.
    pub(crate) fn is_ui(&self) -> bool {
        !self.inner && (self.target == "ui" || self.target.starts_with("ui_"))
    }

    /// Whether it works with a broker: a file of `tests/` of a broker's transport or of the faults, or
    /// one that needs such a transport's feature.
    pub(crate) fn is_on_a_broker(&self) -> bool {
        const BROKERS: [&str; 1] = ["kafka"];
        let is_of = |broker: &&str| self.package == format!("tidings-{broker}");
        let is_about = BROKERS.iter().any(is_of) || self.package == "tidings-faults";
        let needs = self.required.iter().any(|it| BROKERS.contains(&&**it));
        !self.inner && (is_about || needs)
    }

    /// The command that runs it as `cargo test` would: in its package's folder, told about its
    /// package, and able to find the shared libraries that a macro crate's tests link to.
    pub(crate) fn command(&self, libraries: &Libraries, args: &[String]) -> Command {
        let mut command = Command::new(&self.executable);
        clear_own_package(&mut command);
        command
            .args(args)
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("CARGO_MANIFEST_PATH", self.folder.join("Cargo.toml"))
            .env("CARGO_PKG_NAME", &self.package)
            .env("CARGO_PKG_VERSION", &self.version)
            .env(Libraries::VARIABLE, &libraries.path);
        if self.is_ui() {
            // For what trybuild builds, in a workspace of its own without our profiles.
            command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        }
        command
    }
}

/// Builds every test of the workspace with these flags, and lists the binaries in a stable order.
pub(crate) fn build(workspace: &Workspace, scope: &[String]) -> Result<Vec<Unit>> {
    let mut command = workspace.cargo_for_tests();
    command
        .arg("test")
        .args(scope)
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let output = command.output().context("cargo did not start")?;
    if !output.status.success() {
        bail!("the tests do not build: `{}`", command_line(&command));
    }
    let packages: BTreeMap<PathBuf, Package> = workspace
        .packages()?
        .into_iter()
        .map(|package| (package.manifest_path.clone(), package))
        .collect();
    let text = String::from_utf8(output.stdout).context("cargo wrote bytes that are not UTF-8")?;
    let mut units = Vec::new();
    for line in text.lines() {
        units.extend(unit(line, &packages)?);
    }
    units.sort_by(|a, b| (&a.package, !a.inner, &a.target).cmp(&(&b.package, !b.inner, &b.target)));
    Ok(units)
}

/// Where the shared libraries are that a test may link to: the standard library's, and those of
/// the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Libraries {
    path: OsString,
}

impl Libraries {
    const VARIABLE: &str = if cfg!(windows) {
        "PATH"
    } else if cfg!(target_os = "macos") {
        "DYLD_FALLBACK_LIBRARY_PATH"
    } else {
        "LD_LIBRARY_PATH"
    };

    /// Asks rustc for its library folder and adds the folders of the test binaries.
    pub(crate) fn find(workspace: &Workspace, units: &[Unit]) -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc)
            .args(["--print", "target-libdir"])
            .current_dir(workspace.root())
            .output()
            .context("rustc did not start")?;
        if !output.status.success() {
            bail!("`rustc --print target-libdir` failed: {}", output.status);
        }
        let standard = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let mut folders = vec![PathBuf::from(standard)];
        let built = units.first().and_then(|unit| unit.executable.parent());
        folders.extend(built.map(Path::to_owned));
        let inherited = env::var_os(Self::VARIABLE).unwrap_or_default();
        folders
            .extend(env::split_paths(&inherited).filter(|folder| !folder.as_os_str().is_empty()));
        let path = env::join_paths(folders).context("a library folder's name holds a separator")?;
        Ok(Self { path })
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<BuiltTarget>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct BuiltTarget {
    name: String,
    kind: Vec<String>,
    #[serde(default, rename = "required-features")]
    required: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Reads one line of cargo's build messages: a test binary, or anything else.
fn unit(line: &str, packages: &BTreeMap<PathBuf, Package>) -> Result<Option<Unit>> {
    let message: Message = serde_json::from_str(line)
        .with_context(|| format!("cargo's build message is not understood: {line}"))?;
    if message.reason != "compiler-artifact" || !message.profile.is_some_and(|built| built.test) {
        return Ok(None);
    }
    let (Some(executable), Some(target), Some(manifest)) =
        (message.executable, message.target, message.manifest_path)
    else {
        return Ok(None);
    };
    let package = packages
        .get(&manifest)
        .with_context(|| format!("cargo built `{}`, which is no member", manifest.display()))?;
    let folder = manifest
        .parent()
        .with_context(|| format!("`{}` has no folder", manifest.display()))?;
    Ok(Some(Unit {
        package: package.name.clone(),
        version: package.version.clone(),
        folder: folder.to_owned(),
        inner: !target.kind.iter().any(|kind| kind == "test"),
        required: target.required,
        target: target.name,
        executable,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> BTreeMap<PathBuf, Package> {
        let manifest_path = PathBuf::from("/w/memory/Cargo.toml");
        let package = Package {
            name: "tidings-memory".into(),
            version: "0.1.0".into(),
            manifest_path: manifest_path.clone(),
            features: BTreeMap::new(),
            targets: Vec::new(),
        };
        BTreeMap::from([(manifest_path, package)])
    }

    fn artifact(kind: &str, name: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"x","manifest_path":"/w/memory/Cargo.toml",
            "target":{{"kind":["{kind}"],"name":"{name}","src_path":"/w"}},
            "profile":{{"opt_level":"0","test":{test}}},"executable":{executable},"fresh":true}}"#
        )
    }

    #[test]
    fn a_test_binary_is_labelled_by_its_file() {
        let line = artifact("test", "conformance", true, r#""/w/target/conformance-1""#);
        let unit = unit(&line, &packages()).unwrap().unwrap();
        assert_eq!(unit.label(), "tidings-memory tests/conformance");
        assert!(!unit.is_ui());
    }

    #[test]
    fn unit_tests_are_labelled_by_their_package() {
        let line = artifact(
            "lib",
            "tidings_memory",
            true,
            r#""/w/target/tidings_memory-1""#,
        );
        assert_eq!(
            unit(&line, &packages()).unwrap().unwrap().label(),
            "tidings-memory unit tests"
        );
    }

    #[test]
    fn what_is_no_test_is_left_out() {
        for line in [
            artifact("example", "orders", false, r#""/w/target/orders""#),
            artifact("lib", "tidings_memory", false, "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            r#"{"reason":"build-script-executed","package_id":"x","out_dir":"/o"}"#.to_owned(),
        ] {
            assert_eq!(unit(&line, &packages()).unwrap(), None, "{line}");
        }
    }

    #[test]
    fn only_files_of_tests_are_ui_tests() {
        let ui = |kind, name| {
            let line = artifact(kind, name, true, r#""/w/target/x""#);
            unit(&line, &packages()).unwrap().unwrap().is_ui()
        };
        assert!(ui("test", "ui"));
        assert!(ui("test", "ui_handlers"));
        assert!(!ui("test", "uids"));
        assert!(!ui("lib", "ui"));
    }

    #[test]
    fn a_binary_is_told_about_its_own_package() {
        let line = artifact("test", "conformance", true, r#""/w/target/conformance-1""#);
        let unit = unit(&line, &packages()).unwrap().unwrap();
        let command = unit.command(
            &Libraries {
                path: "/lib".into(),
            },
            &["row_".into()],
        );
        let value = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == name);
            found
                .and_then(|(_, value)| value)
                .and_then(|value| value.to_str())
        };
        assert_eq!(command.get_current_dir(), Some(Path::new("/w/memory")));
        assert_eq!(value("CARGO_MANIFEST_DIR"), Some("/w/memory"));
        assert_eq!(value("CARGO_PKG_NAME"), Some("tidings-memory"));
        assert_eq!(value(Libraries::VARIABLE), Some("/lib"));
    }

    #[test]
    fn what_works_with_a_broker_is_known() {
        let unit = |package: &str, inner: bool, required: &[&str]| Unit {
            package: package.into(),
            version: "0.1.0".into(),
            folder: PathBuf::new(),
            target: "it".into(),
            inner,
            required: required.iter().map(|&name| name.into()).collect(),
            executable: PathBuf::new(),
        };
        assert!(unit("tidings-kafka", false, &[]).is_on_a_broker());
        assert!(unit("tidings-faults", false, &[]).is_on_a_broker());
        assert!(unit("tidings", false, &["derive", "kafka"]).is_on_a_broker());
        assert!(!unit("tidings-kafka", true, &[]).is_on_a_broker());
        assert!(!unit("tidings", false, &["derive"]).is_on_a_broker());
    }
}
