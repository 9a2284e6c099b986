//! The admin port over HTTP: who may, what it answers, and that it acts.

mod common;

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use chat_server::admin::{AdminConfig, TokenSource};
use chat_server::{ServerConfig, StartError, start};
use common::{House, TOKEN, error_code, text_of};
use serde_json::{Value, json};
use units::Seed;
use ureq::http::Request;

#[test]
fn everyone_on_this_machine_may_read() {
    let house = House::new();
    let mut alice = house.client("alice");
    alice.say("join", r#"{"room":"lobby"}"#);
    alice.expect("join");
    let (status, stats) = ask(&house, "GET", "/v1/stats", None, "");
    assert_eq!((status, stats["clients"].as_u64(), stats["rooms"].as_u64()), (200, Some(1), Some(1)));
    assert!(stats["net"]["stream_bytes_in"].as_u64().unwrap() > 0);
    let (_, clients) = ask(&house, "GET", "/v1/clients", None, "");
    assert_eq!((&clients[0]["user"], &clients[0]["rooms"]), (&json!("alice"), &json!(["lobby"])));
    assert!(clients[0]["address"].as_str().unwrap().starts_with("tcp 127.0.0.1:"));
    assert_eq!(ask(&house, "GET", "/healthz", None, "").0, 200);
    assert_eq!(ask(&house, "GET", "/metrics", None, "").0, 200);
}

#[test]
fn every_change_needs_the_token() {
    let house = House::new();
    for (method, path, body) in [
        ("DELETE", "/v1/clients/alice", ""),
        ("POST", "/v1/broadcast", r#"{"text":"hi"}"#),
        ("PUT", "/v1/simulation", r#"{"loss_percent":1,"delay_ms":1}"#),
        ("DELETE", "/v1/simulation", ""),
        ("POST", "/v1/shutdown", ""),
    ] {
        let (status, answer) = ask(&house, method, path, None, body);
        assert_eq!(status, 401, "{method} {path}");
        assert!(answer["error"].as_str().unwrap().contains("Bearer"));
        assert_eq!(ask(&house, method, path, Some("wrong"), body).0, 403, "{method} {path}");
    }
    assert!(!house.stats().draining);
}

#[test]
fn a_page_that_rebinds_its_name_gets_nothing() {
    let house = House::new();
    let url = url(&house, "/v1/stats");
    let response = agent().get(url).header("Host", "evil.example").call().unwrap();
    assert_eq!(response.status(), 403);
}

#[test]
fn nonsense_is_refused_in_json_with_the_field() {
    let house = House::new();
    for (method, path, body, status, part) in [
        ("PUT", "/v1/simulation", r#"{"loss_percent":101,"delay_ms":0}"#, 400, "loss_percent"),
        ("PUT", "/v1/simulation", r#"{"loss_percent":1,"delay_ms":-5}"#, 400, "delay_ms"),
        (
            "PUT",
            "/v1/simulation",
            r#"{"loss_percent":1,"delay_ms":0,"jitter":1}"#,
            400,
            "unknown field `jitter`",
        ),
        ("PUT", "/v1/simulation", "loss=10", 400, "cannot be read"),
        ("POST", "/v1/broadcast", r#"{"text":"  "}"#, 400, "empty"),
        ("POST", "/v1/shutdown", r#"{"drain_s":-1}"#, 400, "drain_s"),
        ("DELETE", "/v1/clients/nobody", "", 404, "no client \"nobody\""),
        ("GET", "/v1/nothing", "", 404, "no route"),
        ("POST", "/v1/stats", "", 405, "method"),
    ] {
        let (answered, answer) = ask(&house, method, path, Some(TOKEN), body);
        assert_eq!(answered, status, "{method} {path} {body}");
        assert!(answer["error"].as_str().unwrap_or_default().contains(part), "{answer}");
    }
    let huge = format!("{{\"text\":\"{}\"}}", "x".repeat(100_000));
    for (method, path, body, status) in
        [("POST", "/v1/broadcast", huge.as_str(), 413), ("DELETE", "/v1/clients/%ff", "", 400)]
    {
        let (answered, answer) = ask(&house, method, path, Some(TOKEN), body);
        assert_eq!(answered, status);
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[test]
fn a_broadcast_reaches_everyone_without_control_characters() {
    let house = House::new();
    let mut alice = house.client("alice");
    let body = json!({ "text": "down at\u{1b}[2J noon" }).to_string();
    let (status, answer) = ask(&house, "POST", "/v1/broadcast", Some(TOKEN), &body);
    assert_eq!((status, &answer["reached"]), (200, &json!(1)));
    assert_eq!(text_of(&alice.expect("system")), "down at [2J noon");
}

#[test]
fn a_kicked_client_hears_the_reason() {
    let house = House::new();
    let (mut alice, mut bob) = (house.client("alice"), house.client("bob"));
    let (status, kicked) = ask(&house, "DELETE", "/v1/clients/alice?reason=too%20loud", Some(TOKEN), "");
    assert_eq!((status, &kicked["user"]), (200, &json!("alice")));
    let error = alice.expect("error");
    assert_eq!(error_code(&error), "kicked");
    assert!(text_of(&error).contains("too loud"));
    let (_, clients) = ask(&house, "GET", "/v1/clients", None, "");
    let id = clients[0]["id"].as_u64().unwrap();
    assert_eq!(ask(&house, "DELETE", &format!("/v1/clients/{id}"), Some(TOKEN), "").0, 200);
    assert_eq!(error_code(&bob.expect("error")), "kicked");
    assert_eq!(house.stats().events.kicked, 2);
}

#[test]
fn simulated_weather_is_seen_in_the_statistics_and_felt() {
    let house = House::new();
    let mut alice = house.client("alice");
    let body = r#"{"loss_percent":10,"delay_ms":50}"#;
    let (status, answer) = ask(&house, "PUT", "/v1/simulation", Some(TOKEN), body);
    assert_eq!((status, &answer["active"], &answer["loss_percent"]), (200, &json!(true), &json!(10.0)));
    let clock = house.server.clock();
    let before = clock.now();
    alice.say("rooms", "{}");
    // This client sends nothing again; the fixed seed lets its first question through.
    for _ in 0..20 {
        alice.say("rooms", "{}");
    }
    alice.expect("rooms");
    let took = clock.now().since(before);
    assert!(took >= Duration::from_millis(100), "50 ms each way took {took:?}");
    let simulation = house.stats().simulation.unwrap();
    assert_eq!((simulation.loss_percent, simulation.delay_ms), (10.0, 50.0));
    assert!(simulation.counters.up_offered >= 21);
    let (status, answer) = ask(&house, "DELETE", "/v1/simulation", Some(TOKEN), "");
    assert_eq!((status, &answer["active"]), (200, &json!(false)));
}

#[test]
fn metrics_are_what_the_statistics_say() {
    let house = House::new();
    let _alice = house.client("alice");
    let page = agent().get(url(&house, "/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
    assert!(page.contains("# TYPE squall_clients gauge\nsquall_clients 1\n"), "{page}");
    assert!(page.contains("# TYPE squall_sessions_started_total counter\nsquall_sessions_started_total 1\n"));
}

#[test]
fn shutdown_is_answered_and_then_done() {
    let house = House::new();
    let (status, answer) = ask(&house, "POST", "/v1/shutdown", Some(TOKEN), r#"{"drain_s":0.1}"#);
    assert_eq!((status, &answer["drain_s"]), (202, &json!(0.1)));
    house.runtime.block_on(house.server.wait());
}

#[test]
fn a_fresh_token_is_in_a_private_file_named_by_port_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("runtime");
    let house = House::with(|config| {
        config.admin = Some(AdminConfig {
            token_folder: Some(place.clone()),
            ..AdminConfig::new(([127, 0, 0, 1], 0).into())
        });
    });
    let path = house.server.admin_token_file().unwrap().to_owned();
    let port = house.server.admin_addr().unwrap().port();
    assert_eq!(path, place.join(format!("squall-admin-{port}.token")));
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&place).unwrap().mode() & 0o777, 0o700);
    let token = std::fs::read_to_string(&path).unwrap();
    let (status, _) = ask(&house, "DELETE", "/v1/simulation", Some(token.trim()), "");
    assert_eq!(status, 200);
    house.runtime.block_on(house.server.shutdown(Duration::ZERO));
    house.runtime.block_on(house.server.wait());
    assert!(!path.exists());
}

#[test]
fn an_address_that_others_reach_is_refused_unless_asked_for_with_a_token() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = ServerConfig::on_loopback(Seed::root(1));
    let mut admin = AdminConfig::new(([0, 0, 0, 0], 0).into());
    for allow_remote in [false, true] {
        admin.allow_remote = allow_remote;
        config.admin = Some(admin.clone());
        let error = runtime.block_on(start(config.clone())).unwrap_err();
        assert!(matches!(error, StartError::AdminRemote { .. }), "{error}");
    }
    let house = House::with(|config| {
        let admin = config.admin.as_mut().unwrap();
        admin.allow_remote = true;
        admin.listen = ([0, 0, 0, 0], 0).into();
        assert!(matches!(admin.token, TokenSource::Given(_)));
    });
    assert_eq!(ask(&house, "GET", "/v1/stats", None, "").0, 401);
    assert_eq!(ask(&house, "GET", "/v1/stats", Some(TOKEN), "").0, 200);
}

/// Status and JSON body; `Null` for a body that is none.
fn ask(house: &House, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(url(house, path));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut response = agent().run(request.body(body.to_owned()).unwrap()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
}

fn url(house: &House, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", house.server.admin_addr().unwrap().port())
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(common::PATIENCE));
    config.build().into()
}
