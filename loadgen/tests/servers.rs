//! Runs against servers that are not part of the generator.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use loadgen::result::Verdict;
use tempfile::TempDir;

use common::{SMALL, loadgen, result, run_small};

/// The server's own program, built if it is not there: it is another package, of which cargo tells this one nothing.
fn chat_server() -> PathBuf {
    // `target/PROFILE/loadgen` has its neighbours beside it.
    let folder = Path::new(env!("CARGO_BIN_EXE_loadgen")).parent().expect("a folder of programs");
    let profile = folder.file_name().expect("a profile").to_string_lossy().into_owned();
    let profile = if profile == "debug" { "dev".to_owned() } else { profile };
    let target = folder.parent().expect("a target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Always asked: what is there may be of yesterday.
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "chat-server", "--profile", &profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs the tests");
    let server = folder.join("chat-server");
    assert!(built.success() && server.exists(), "cargo did not build {}", server.display());
    server
}

/// A scenario with a `[server]`; `more` lines go into its table.
fn with_server(more: &str) -> String {
    SMALL.replace("[[clients]]", &format!("[server]\n{more}\n[[clients]]"))
}

/// A busy machine may make a run INVALID, which is no fault of what is tested here.
fn heard_everything(folder: &Path) {
    let result = result(&folder.join("out"));
    assert!(matches!(result.verdict, Verdict::Pass | Verdict::Invalid), "{:?}", result.reasons);
    let messages = &result.cells[0].metrics.messages;
    assert!(messages.intended > 100, "{messages:?}");
    assert_eq!((messages.acked, messages.lost), (messages.intended, 0), "{messages:?}");
    assert_eq!(messages.delivered, messages.expected_deliveries);
}

/// A server of the test's own.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(program: &Path, folder: &Path) -> (Self, SocketAddr) {
        // A port that is free now.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .args(["--listen", &address.to_string(), "--udp", &address.to_string()])
            .args(["--admin", "127.0.0.1:0"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self(child);
        while TcpStream::connect(address).is_err() {
            assert!(server.0.try_wait().unwrap().is_none(), "the server has ended");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        (server, address)
    }
}

#[test]
fn a_server_of_its_own_process_is_started_measured_and_stopped() {
    let (folder, server) = (TempDir::new().unwrap(), chat_server());
    for transport in ["udp", "tcp"] {
        let text = with_server(&format!(
            "mode = \"spawn\"\ncommand = [\"{}\", \"--config\", \"{{tmp}}/server.toml\", \"--listen\", \"{{addr}}\", \
             \"--udp\", \"{{addr}}\", \"--admin\", \"127.0.0.1:0\"]\n[protocol]\ntransport = \"{transport}\"",
            server.display()
        ));
        let output = run_small(folder.path(), &text);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{transport}: {stderr}");
        heard_everything(folder.path());
    }
}

#[test]
fn a_server_that_runs_already_is_measured_where_it_is() {
    let (folder, server) = (TempDir::new().unwrap(), chat_server());
    let (_running, address) = Running::start(&server, folder.path());
    for transport in ["udp", "tcp"] {
        let text = with_server(&format!(
            "mode = \"target\"\naddr = \"{address}\"\n[protocol]\ntransport = \"{transport}\""
        ));
        let output = run_small(folder.path(), &text);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{transport}: {stderr}");
        heard_everything(folder.path());
    }
}

#[test]
fn a_test_needs_no_scenario_and_a_server() {
    let (folder, server) = (TempDir::new().unwrap(), chat_server());
    let (_running, address) = Running::start(&server, folder.path());
    let port = address.port().to_string();
    let args = ["--test", "throughput", "--duration", "2", "--clients", "4", "--port", &port, "--out", "out"];
    let output = loadgen(folder.path(), &args).args(["--export", "results.json"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3 | 5)), "{stderr}");
    assert!(result(&folder.path().join("results.json")).cells[0].metrics.messages.acked > 0);
}

#[test]
fn a_server_that_dies_at_once_has_an_exit_code_of_its_own() {
    let folder = TempDir::new().unwrap();
    let server =
        "[server]\nmode = \"spawn\"\ncommand = [\"sh\", \"-c\", \"echo out of luck; exit 3\"]\n[[clients]]";
    let output = run_small(folder.path(), &SMALL.replace("[[clients]]", server));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("the server under test died") && stderr.contains("out of luck"), "{stderr}");
}

#[test]
fn virtual_time_has_only_a_server_of_its_own() {
    let folder = TempDir::new().unwrap();
    let server = "[server]\nmode = \"target\"\naddr = \"127.0.0.1:9\"\n[[clients]]";
    let text = SMALL.replace("[[clients]]", server).replace("\"real\"", "\"virtual\"");
    let output = run_small(folder.path(), &text);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("server.mode") && stderr.contains("--driver real"), "{stderr}");
}
