//! The page in a browser: it loads without a complaint, answers, and shows a slow message.
//!
//! Needs `chromium` (or the program that `CHROMIUM` names). Where there is none the test says so and passes, because a
//! page that was not opened has not been shown to be broken. The browser is driven over its debugging pipe, by its
//! standard streams, so nothing listens on a port.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use loadgen::report::synthetic::{self, Shape, Vary};
use loadgen::report::{Saved, render, write_records};
use serde_json::{Value, json};

#[test]
fn the_page_answers_in_a_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let shape = Shape { clients: 20, steady_s: 8, ..Shape::default() };
    let plain = synthetic::chat(&shape, 2);
    let mut hostile = plain.clone();
    let name = "</script><script>document.title='broken out'</script>\"'<!--";
    for run in &mut hostile.runs {
        run.workloads[0].name = name.to_owned();
        run.exemplars.iter_mut().for_each(|exemplar| exemplar.workload = name.to_owned());
    }
    for saved in
        [plain, hostile, synthetic::grid(&shape, &[Vary::loss(&[0.0, 0.1])], 2), synthetic::arms(&shape, 4)]
    {
        let dir = written(&saved);
        browser.open(&format!("file://{}", dir.path().join("report.html").display()));
        assert_eq!(browser.ask("document.documentElement.className"), "alive", "{:?}", browser.complaints);
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
        assert!(browser.ask("document.title").as_str().is_some_and(|title| title.contains("loss10")));

        let answer = browser.ask(
            "(() => { const field = document.getElementById('percentile-input'); field.value = '99.9'; \
             field.dispatchEvent(new Event('input')); return document.getElementById('percentile-answer').textContent })()",
        );
        let answer = answer.as_str().expect("text");
        let p999 =
            saved.runs[0].quantiles.iter().find(|estimate| estimate.q == 0.999).and_then(|e| e.value_us);
        let ms = (p999.expect("arrived") as f64 / 1e3).round() as u64;
        let said =
            answer.trim_start_matches("p99.9 = ").split(" ms").next().map(|text| text.replace(',', ""));
        assert!(answer.starts_with("p99.9 = ") && answer.contains("95 % interval"), "{answer}");
        assert_eq!(said, Some(ms.to_string()), "{answer}");

        assert_eq!(browser.ask("document.getElementById('timeline').hidden"), true);
        browser.ask("document.querySelector('tr[data-exemplar] button').click()");
        assert_eq!(browser.ask("document.getElementById('timeline').hidden"), false);
        assert!(browser.ask("document.querySelectorAll('#timeline svg .mark').length").as_u64() > Some(3));
        // Narrow screens scroll tables, not the page.
        let wider =
            browser.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wider, 0, "the page is wider than the window");
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    }
    browser.stop();
}

fn written(saved: &Saved) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_records(dir.path(), saved).expect("writable");
    render(dir.path()).expect("a report");
    dir
}

/// A headless browser on its debugging pipe.
struct Browser {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    has_loaded: bool,
    /// Exceptions, and what was written to the console or log as an error.
    complaints: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Option<Self> {
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let found =
            Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
        if !found {
            eprintln!(
                "SKIPPED: no {program} here; install chromium, or name it in CHROMIUM, to test the page"
            );
            return None;
        }
        let profile = tempfile::tempdir().expect("a temporary folder");
        // The pipe is file descriptors 3 and 4; a shell moves our streams there.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 1>&2 2>/dev/null",
                &program,
                "--headless",
                "--no-sandbox",
            ])
            .args(["--disable-gpu", "--remote-debugging-pipe", "--window-size=390,800"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let requests = process.stdin.take().expect("piped");
        let replies = BufReader::new(process.stdout.take().expect("piped"));
        Some(Self {
            process,
            requests,
            replies,
            session: None,
            last: 0,
            has_loaded: false,
            complaints: Vec::new(),
            _profile: profile,
        })
    }

    /// A new page, loaded.
    fn open(&mut self, address: &str) {
        self.session = None;
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(domain, json!({}));
        }
        self.complaints.clear();
        self.has_loaded = false;
        self.call("Page.navigate", json!({"url": address}));
        while !self.has_loaded {
            self.hear();
        }
    }

    /// The value of an expression.
    fn ask(&mut self, expression: &str) -> Value {
        let reply = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(reply.get("exceptionDetails").is_none(), "{expression}: {reply}");
        reply["result"]["value"].clone()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut request = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).expect("the browser listens");
        loop {
            let message = self.hear();
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// The next message, which may be an event.
    fn hear(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.replies.read_until(0, &mut bytes).expect("the browser speaks");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.has_loaded = true,
            Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                self.complaints.push(message["params"].clone())
            }
            Some("Runtime.consoleAPICalled") if message["params"]["type"] == "error" => {
                self.complaints.push(message["params"].clone());
            }
            _ => {}
        }
        message
    }

    fn stop(mut self) {
        self.session = None;
        self.call("Browser.close", json!({}));
        self.process.wait().expect("it ends");
    }
}
