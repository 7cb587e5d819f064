//! What a measurement depends on, for the page.

use std::process::Command;

/// The processor's name, or what kind it is.
pub(crate) fn processor() -> String {
    let named = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// How many processors there are.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The operating system's name.
pub(crate) fn system() -> &'static str {
    std::env::consts::OS
}

/// The compiler's version.
pub(crate) fn compiler() -> String {
    let asked = Command::new("rustc").arg("--version").output().ok();
    asked
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| String::from("unknown"), |text| text.trim().to_owned())
}
