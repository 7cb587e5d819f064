//! Certificates of a run: an authority, and a server certificate for this machine.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::{files::Run, tools::step};

/// Days until they end; a run is shorter.
const DAYS: &str = "30";

/// PEM files.
#[derive(Debug)]
pub(super) struct Certificates {
    /// What clients trust.
    pub(super) ca: PathBuf,
    /// The server's key, its certificate and the authority's, in one file.
    pub(super) server: PathBuf,
}

pub(super) fn make(run: &Run) -> Result<Certificates> {
    let ca = ["-x509", "-keyout", "ca.key", "-out", "ca.pem"];
    let ca = ca
        .into_iter()
        .chain(["-days", DAYS, "-subj", "/CN=tidings tests"]);
    openssl(
        run,
        key_and(ca.chain(["-addext", "basicConstraints=critical,CA:TRUE"])),
    )?;
    let server = ["-keyout", "server.key", "-out", "server.csr"];
    let server = server.into_iter().chain(["-subj", "/CN=localhost"]);
    let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    openssl(run, key_and(server.chain(names)))?;
    let signed = [
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-out",
        "server.crt",
        "-days",
        DAYS,
    ];
    let by = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-copy_extensions",
        "copy",
    ];
    openssl(run, signed.into_iter().chain(by))?;
    let parts = ["server.key", "server.crt", "ca.pem"].map(|name| run.read(name));
    let server: String = parts.into_iter().collect::<Result<_>>()?;
    let server = run.write("server.pem", &server)?;
    let ca = fs::canonicalize(run.path("ca.pem")).context("openssl wrote no ca.pem")?;
    Ok(Certificates { ca, server })
}

fn key_and<'a>(args: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    ["req", "-newkey", "rsa:2048", "-nodes"]
        .into_iter()
        .chain(args)
}

fn openssl<'a>(run: &Run, args: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut command = Command::new("openssl");
    command.current_dir(run.folder()).args(args);
    step(command)
}
