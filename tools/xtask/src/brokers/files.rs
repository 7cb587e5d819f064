//! What a run of a broker leaves on the disk.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Environment variables that tell tests where a broker is.
pub(crate) type Values = BTreeMap<String, String>;

/// Waits until no other call of this command is at work here; until what it gives is dropped.
pub(super) fn lock(root: &Path) -> Result<fs::File> {
    let folder = root.join("target").join("brokers");
    fs::create_dir_all(&folder).with_context(|| format!("no folder `{}`", folder.display()))?;
    let path = folder.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("no file `{}`", path.display()))?;
    file.lock()
        .with_context(|| format!("`{}` was not locked", path.display()))?;
    Ok(file)
}

/// The folder of one broker's run.
#[derive(Debug)]
pub(super) struct Run {
    root: PathBuf,
    folder: PathBuf,
}

impl Run {
    pub(super) fn new(root: &Path, broker: &str) -> Self {
        Self {
            root: root.to_owned(),
            folder: root.join("target").join("brokers").join(broker),
        }
    }

    /// The workspace's folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path("log")
    }

    pub(super) fn create(&self) -> Result<()> {
        let folder = &self.folder;
        fs::create_dir_all(folder).with_context(|| format!("no folder `{}`", folder.display()))
    }

    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("`{}` stays", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("`{}` was not written", path.display()))?;
        Ok(path)
    }

    pub(super) fn read(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| format!("`{}` was not read", path.display()))
    }

    /// Notes how a broker is reached that answers.
    pub(super) fn keep(&self, values: &Values) -> Result<()> {
        let lines = values
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        self.write("env", &lines.collect::<String>())?;
        Ok(())
    }

    /// Notes the process of a broker.
    pub(super) fn note_process(&self, process: u32) -> Result<()> {
        self.write("pid", &process.to_string()).map(drop)
    }

    /// The process that was noted.
    pub(super) fn process(&self) -> Result<Option<u32>> {
        let Some(text) = self.noted("pid")? else {
            return Ok(None);
        };
        let number = text.parse();
        let number = number.with_context(|| format!("{text:?} is no process id"))?;
        Ok(Some(number))
    }

    /// Notes the Compose project of a broker.
    pub(super) fn note_project(&self, name: &str) -> Result<()> {
        self.write("project", name).map(drop)
    }

    /// The Compose project that was noted.
    pub(super) fn project(&self) -> Result<Option<String>> {
        self.noted("project")
    }

    fn noted(&self, name: &str) -> Result<Option<String>> {
        if !self.path(name).exists() {
            return Ok(None);
        }
        Ok(Some(self.read(name)?.trim().to_owned()))
    }

    /// What was noted with it.
    pub(super) fn values(&self) -> Result<Values> {
        let text = self.read("env")?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect())
    }
}
