//! What starts a broker, with a scripted `docker` first on the path: no engine is needed, and none
//! is used.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Writes down its calls; says what the files beside it tell it to.
const DOCKER: &str = r#"#!/bin/sh
echo "$*" >> "$STAGE/calls"
case "$*" in
  "info "*)
    if [ -e "$STAGE/hangs" ]; then exec sleep 600; fi
    if [ -e "$STAGE/absent" ]; then
      echo "Cannot connect to the Docker daemon. Is it running?" >&2
      exit 1
    fi
    echo 28.2.2 ;;
  *" up "*)
    echo "$TIDINGS_KAFKA_PORT $TIDINGS_KAFKA_SASL_SSL_PORT" > "$STAGE/ports"
    test -e "$TIDINGS_KAFKA_FILES/server.pem" || exit 14
    if [ -e "$STAGE/fails" ]; then
      echo "container kafka is unhealthy"
      exit 1
    fi
    echo > "$STAGE/runs" ;;
  *" ps "*) test -e "$STAGE/runs" && echo 9f86d081884c || true ;;
  *" logs "*) echo "kafka-1 | the disk is full" ;;
  *" down "*) rm -f "$STAGE/runs" ;;
esac
"#;

/// Makes the files that it is told to.
const OPENSSL: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -out | -keyout) echo "$2" > "$2" ;;
  esac
  shift
done
"#;

/// A workspace without brokers, and the programs that are found first.
struct Stage {
    folder: PathBuf,
}

impl Stage {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("tidings-brokers-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        for (name, script) in [("docker", DOCKER), ("openssl", OPENSSL)] {
            let path = folder.join("bin").join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// What the scripted `docker` looks at.
    fn set(&self, mark: &str) {
        fs::write(self.folder.join(mark), "").unwrap();
    }

    fn xtask(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let path = env::var_os("PATH").unwrap();
        let path = std::iter::once(self.folder.join("bin")).chain(env::split_paths(&path));
        command
            .arg("brokers")
            .args(args)
            .env("PATH", env::join_paths(path).unwrap())
            .env("STAGE", &self.folder)
            // The workspace is two folders above.
            .env("CARGO_MANIFEST_DIR", self.folder.join("tools/xtask"))
            .env_remove("TIDINGS_TEST_KAFKA");
        command
    }

    /// Runs it and gives back what it printed.
    fn says(&self, args: &[&str]) -> String {
        let output = self.xtask(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// Runs it to its failure and gives back what it printed.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.xtask(args).output().unwrap();
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// The calls of `docker` that have this word.
    fn calls(&self, word: &str) -> Vec<String> {
        let all = self.read("calls");
        let calls = all
            .lines()
            .filter(|call| call.split(' ').any(|it| it == word));
        calls.map(str::to_owned).collect()
    }

    fn run(&self) -> PathBuf {
        self.folder.join("target/brokers/kafka")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(both).unwrap()
}

#[test]
fn where_an_engine_answers_compose_has_the_broker() {
    let stage = Stage::new("engine");
    let said = stage.says(&["up", "kafka"]);
    assert!(
        said.contains("kafka: starting it with Docker Compose\n"),
        "{said}"
    );
    assert!(said.contains("kafka: up in "), "{said}");
    let ports = stage.read("ports");
    let (plain, sasl) = ports.trim().split_once(' ').unwrap();
    let project = format!("tidings-kafka-{plain}");
    let file = stage.folder.join("compose.yaml");
    let compose = format!("compose --project-name {project} --file {}", file.display());
    assert_eq!(
        stage.calls("up"),
        [format!(
            "{compose} up --detach --wait --wait-timeout 60 kafka"
        )]
    );
    assert_eq!(
        stage.calls("exec"),
        [format!(
            "{compose} exec -T kafka /opt/kafka/bin/kafka-broker-api-versions.sh \
             --bootstrap-server 127.0.0.1:{plain}"
        )],
        "the broker itself was asked"
    );

    let again = stage.says(&["up"]);
    assert!(again.contains("kafka: runs already, "), "{again}");
    assert_eq!(stage.calls("up").len(), 1);

    let status = stage.says(&["status"]);
    assert!(status.contains(&format!(
        "logs by `docker compose --project-name {project} logs`"
    )));
    let exported = stage.says(&["env"]);
    for line in [
        format!("export TIDINGS_TEST_KAFKA='kafka://127.0.0.1:{plain}'"),
        format!("export TIDINGS_TEST_KAFKA_SASL_SSL='localhost:{sasl}'"),
    ] {
        assert!(exported.lines().any(|it| it == line), "{exported}");
    }

    let other = stage.fails(&["up", "--with", "native"]);
    assert!(other.contains("kafka runs already, "), "{other}");
    assert!(
        other.contains("`cargo xtask brokers down kafka` first"),
        "{other}"
    );

    let down = stage.says(&["down"]);
    assert!(down.contains("kafka: down in "), "{down}");
    assert_eq!(
        stage.calls("down"),
        [format!("{compose} down --volumes --timeout 60")]
    );
    assert!(!stage.run().exists());
    assert!(stage.says(&["down"]).contains("kafka: does not run"));
    assert!(stage.says(&["status"]).contains("kafka: does not run"));
}

#[test]
fn a_container_that_ended_by_itself_is_removed_before_the_next() {
    let stage = Stage::new("ended");
    stage.says(&["up"]);
    fs::remove_file(stage.folder.join("runs")).unwrap();
    assert!(stage.says(&["status"]).contains("kafka: does not run"));
    stage.says(&["up"]);
    assert_eq!(stage.calls("down").len(), 1, "the first");
    assert_eq!(stage.calls("up").len(), 2);
    stage.says(&["down"]);
}

#[test]
fn a_docker_without_an_engine_is_none() {
    let stage = Stage::new("absent");
    stage.set("absent");
    let why = "no Docker engine answers (`docker info --format {{.ServerVersion}}` failed with exit \
               status: 1: Cannot connect to the Docker daemon. Is it running?)";
    // Nothing else is on this path: what a native install needs is missing.
    let mut only = stage.xtask(&["up"]);
    let output = only.env("PATH", stage.folder.join("bin")).output().unwrap();
    let said = text(&output);
    assert!(
        said.contains(&format!("kafka: {why}: as a native install\n")),
        "{said}"
    );
    assert!(said.contains("missing: java, mvn"), "{said}");

    let said = stage.fails(&["up", "--with", "compose"]);
    assert!(said.contains("leave out `--with compose`"), "{said}");
    assert!(
        said.contains("Cannot connect to the Docker daemon"),
        "{said}"
    );
    assert!(stage.calls("compose").is_empty());
}

#[test]
fn without_a_docker_the_line_says_so() {
    let stage = Stage::new("none");
    let empty = stage.folder.join("empty");
    fs::create_dir(&empty).unwrap();
    let output = stage.xtask(&["up"]).env("PATH", empty).output().unwrap();
    let said = text(&output);
    assert!(
        said.contains("no Docker engine answers (`docker info"),
        "{said}"
    );
    assert!(said.contains("did not start"), "{said}");
}

#[test]
fn a_docker_that_hangs_is_no_engine() {
    let stage = Stage::new("hangs");
    stage.set("hangs");
    let said = stage.fails(&["up", "--with", "compose"]);
    assert!(said.contains("did not end within 5.0 s"), "{said}");
}

#[test]
fn what_did_not_start_says_its_last_words_and_leaves_nothing() {
    let stage = Stage::new("fails");
    stage.set("fails");
    let said = stage.fails(&["up"]);
    for words in ["container kafka is unhealthy", "the disk is full"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(stage.calls("down").len(), 1);
    assert!(!stage.run().exists());
}

#[test]
fn what_the_environment_names_is_used_and_docker_not_asked() {
    let stage = Stage::new("given");
    for action in ["up", "status", "down"] {
        let mut xtask = stage.xtask(&[action]);
        let output = xtask
            .env("TIDINGS_TEST_KAFKA", "kafka://user:canary@elsewhere:9092")
            .output()
            .unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    assert_eq!(stage.read("calls"), "");
    assert!(!Path::new(&stage.run()).exists());
}
