//! Toxiproxy's JSON, as a configuration file of `netem-proxy serve`.
//!
//! Read are the list that Toxiproxy's `-config` and `/populate` take, and the map that `GET /proxies` gives, with or
//! without toxics. What a toxic says that a SPEC can say too stands beside it as a comment, for those who want a link
//! instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// Why a file is none of Toxiproxy's.
#[derive(Debug, thiserror::Error)]
pub enum ToxiproxyError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("proxy {place}: it has no {field}")]
    Missing { place: usize, field: &'static str },
    #[error("proxy \"{proxy}\": toxic type \"{kind}\" is not known; they are {}", KINDS.join(", "))]
    Kind { proxy: String, kind: String },
    #[error("proxy \"{proxy}\": toxic \"{toxic}\": stream \"{stream}\" is neither upstream nor downstream")]
    Stream { proxy: String, toxic: String, stream: String },
    #[error("proxy \"{proxy}\": toxic \"{toxic}\": toxicity {toxicity} is not within 0 to 1")]
    Toxicity { proxy: String, toxic: String, toxicity: f64 },
}

const KINDS: [&str; 8] =
    ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop"];

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum File {
    List(Vec<Proxy>),
    Map(BTreeMap<String, Proxy>),
}

#[derive(Debug, Deserialize)]
struct Proxy {
    #[serde(default)]
    name: String,
    #[serde(default)]
    listen: String,
    #[serde(default)]
    upstream: String,
    enabled: Option<bool>,
    #[serde(default)]
    toxics: Vec<Toxic>,
}

#[derive(Debug, Deserialize)]
struct Toxic {
    name: Option<String>,
    #[serde(rename = "type", default)]
    kind: String,
    stream: Option<String>,
    toxicity: Option<f64>,
    #[serde(default)]
    attributes: Option<BTreeMap<String, i64>>,
}

/// The same proxies as TOML for `netem-proxy serve --config`.
///
/// # Errors
/// When the text is no JSON of that form, or names what Toxiproxy does not have.
pub fn import(text: &str) -> Result<String, ToxiproxyError> {
    let proxies: Vec<Proxy> = match serde_json::from_str(text)? {
        File::List(list) => list,
        File::Map(map) => {
            let named = |(name, proxy): (String, Proxy)| match proxy.name.is_empty() {
                true => Proxy { name, ..proxy },
                false => proxy,
            };
            map.into_iter().map(named).collect()
        }
    };
    let mut out = String::from("# For netem-proxy serve --config FILE.\n");
    for (index, proxy) in proxies.iter().enumerate() {
        for (field, value) in [("name", &proxy.name), ("upstream", &proxy.upstream)] {
            if value.is_empty() {
                return Err(ToxiproxyError::Missing { place: index + 1, field });
            }
        }
        write_proxy(proxy, &mut out)?;
    }
    Ok(out)
}

fn write_proxy(proxy: &Proxy, out: &mut String) -> Result<(), ToxiproxyError> {
    let _ = writeln!(out, "\n[[proxy]]\nname = {}", quoted(&proxy.name));
    if !proxy.listen.is_empty() {
        let _ = writeln!(out, "listen = {}", quoted(&proxy.listen));
    }
    let _ = writeln!(out, "upstream = {}", quoted(&proxy.upstream));
    if proxy.enabled == Some(false) {
        out.push_str("enabled = false\n");
    }
    for (flag, is_up) in [("up", true), ("down", false)] {
        if let Some(spec) = equivalent(proxy, is_up) {
            let _ = writeln!(out, "# as a link: {flag} = {}", quoted(&spec));
        }
    }
    for toxic in &proxy.toxics {
        write_toxic(proxy, toxic, out)?;
    }
    Ok(())
}

fn write_toxic(proxy: &Proxy, toxic: &Toxic, out: &mut String) -> Result<(), ToxiproxyError> {
    if !KINDS.contains(&toxic.kind.as_str()) {
        return Err(ToxiproxyError::Kind { proxy: proxy.name.clone(), kind: toxic.kind.clone() });
    }
    let stream = toxic.stream.as_deref().unwrap_or("downstream").to_ascii_lowercase();
    let name = toxic.name.clone().unwrap_or_else(|| format!("{}_{stream}", toxic.kind));
    if !["upstream", "downstream"].contains(&stream.as_str()) {
        return Err(ToxiproxyError::Stream { proxy: proxy.name.clone(), toxic: name, stream });
    }
    let toxicity = toxic.toxicity.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&toxicity) {
        return Err(ToxiproxyError::Toxicity { proxy: proxy.name.clone(), toxic: name, toxicity });
    }
    let _ = writeln!(out, "\n[[proxy.toxic]]\nname = {}\ntype = {}", quoted(&name), quoted(&toxic.kind));
    let _ = writeln!(out, "stream = {}", quoted(&stream));
    if toxicity < 1.0 {
        let _ = writeln!(out, "toxicity = {toxicity:?}");
    }
    let attributes = toxic.attributes.iter().flatten();
    let pairs: Vec<String> = attributes.map(|(key, value)| format!("{} = {value}", bare(key))).collect();
    if !pairs.is_empty() {
        let _ = writeln!(out, "attributes = {{ {} }}", pairs.join(", "));
    }
    Ok(())
}

/// The SPEC of a direction whose toxics a link can do: latency and bandwidth on every connection, one of each.
fn equivalent(proxy: &Proxy, is_up: bool) -> Option<String> {
    let is_mine = |toxic: &&Toxic| {
        let stream = toxic.stream.as_deref().unwrap_or("downstream");
        stream.eq_ignore_ascii_case("upstream") == is_up && toxic.kind != "noop"
    };
    let (mut delay, mut rate) = (None, None);
    for toxic in proxy.toxics.iter().filter(is_mine) {
        let value = |key: &str| {
            let found = toxic.attributes.iter().flatten().find(|(name, _)| name.eq_ignore_ascii_case(key));
            u64::try_from(found.map_or(0, |(_, value)| *value)).ok()
        };
        if toxic.toxicity.is_some_and(|toxicity| toxicity < 1.0) {
            return None;
        }
        let word = match toxic.kind.as_str() {
            "latency" => {
                let (latency, jitter) = (value("latency")?, value("jitter")?);
                let jitter = match jitter {
                    0 => String::new(),
                    // A SPEC refuses a uniform delay below zero; the toxic sends at once.
                    more if more > latency => return None,
                    jitter => format!(" jitter={jitter}ms"),
                };
                (&mut delay, format!("delay={latency}ms{jitter}"))
            }
            // KB/s of 1000 bytes; 0 holds everything for ever, which is a blackout.
            "bandwidth" => {
                let kilobytes = value("rate")?;
                let kilobits = kilobytes.checked_mul(8).filter(|&rate| rate > 0)?;
                (&mut rate, format!("rate={kilobits}kbit/s queue=infinite"))
            }
            _ => return None,
        };
        if word.0.replace(word.1).is_some() {
            return None;
        }
    }
    let words: Vec<String> = [delay, rate].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn bare(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"[
        {"name": "redis", "listen": "127.0.0.1:26379", "upstream": "127.0.0.1:6379",
         "toxics": [
            {"type": "latency", "attributes": {"latency": 100, "jitter": 10}},
            {"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 1000}},
            {"name": "slow", "type": "slow_close", "toxicity": 0.5, "attributes": {"delay": 50}}
         ]},
        {"name": "off", "upstream": "localhost:1", "enabled": false}
    ]"#;

    #[test]
    fn a_list_becomes_a_configuration() {
        let expected = r#"# For netem-proxy serve --config FILE.

[[proxy]]
name = "redis"
listen = "127.0.0.1:26379"
upstream = "127.0.0.1:6379"
# as a link: up = "rate=8000kbit/s queue=infinite"

[[proxy.toxic]]
name = "latency_downstream"
type = "latency"
stream = "downstream"
attributes = { jitter = 10, latency = 100 }

[[proxy.toxic]]
name = "bandwidth_upstream"
type = "bandwidth"
stream = "upstream"
attributes = { rate = 1000 }

[[proxy.toxic]]
name = "slow"
type = "slow_close"
stream = "downstream"
toxicity = 0.5
attributes = { delay = 50 }

[[proxy]]
name = "off"
upstream = "localhost:1"
enabled = false
"#;
        assert_eq!(import(LIST).expect("valid"), expected);
    }

    #[test]
    fn the_answer_of_a_running_server_is_read_too() {
        let text = r#"{"web": {"name": "web", "listen": "127.0.0.1:80", "upstream": "a:1", "enabled": true, "Logger": {},
            "toxics": [{"attributes": {"latency": 20, "jitter": 0}, "name": "l", "type": "latency",
                        "stream": "downstream", "toxicity": 1.0}]}}"#;
        let out = import(text).expect("valid");
        assert!(out.contains("# as a link: down = \"delay=20ms\""), "{out}");
        let document: toml::Table = out.parse().expect("TOML");
        assert_eq!(document["proxy"][0]["toxic"][0]["attributes"]["latency"].as_integer(), Some(20));
    }

    #[test]
    fn what_toxiproxy_does_not_have_is_named() {
        let error = |text: &str| import(text).expect_err("wrong").to_string();
        assert_eq!(error(r#"[{"name": "a"}]"#), "proxy 1: it has no upstream");
        let toxic =
            |toxic: &str| error(&format!(r#"[{{"name": "a", "upstream": "b:1", "toxics": [{toxic}]}}]"#));
        assert!(toxic(r#"{"type": "loss"}"#).contains("toxic type \"loss\" is not known; they are latency"));
        assert!(
            toxic(r#"{"type": "noop", "stream": "sideways"}"#).contains("neither upstream nor downstream")
        );
        assert!(toxic(r#"{"type": "noop", "toxicity": 2}"#).contains("not within 0 to 1"));
        assert!(!error("{").is_empty());
    }

    proptest! {
        #[test]
        fn names_are_quoted_so_that_toml_reads_them(name in ".{1,20}", upstream in ".{1,20}") {
            let text = serde_json::json!([{"name": name, "upstream": upstream}]).to_string();
            let out = import(&text).expect("valid");
            let document: toml::Table = out.parse().expect("TOML");
            prop_assert_eq!(document["proxy"][0]["name"].as_str(), Some(name.as_str()));
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:a-z0-9 ]{0,60}") {
            let _ = import(&text);
        }
    }
}
