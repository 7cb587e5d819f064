//! Every case works. Nothing is measured here.

use std::process::Command;

#[test]
fn every_case_runs() {
    let run = Command::new(env!("CARGO_BIN_EXE_tidings-bench"))
        .arg("--smoke")
        .output()
        .expect("the benchmarks start");
    let printed = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "{}: {printed}{}",
        run.status,
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(printed.contains(" cases ran"), "{printed}");
}
