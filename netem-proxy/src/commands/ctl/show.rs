//! What `ctl` prints: a table in colour on a terminal, fields between tabs on a pipe. Both are `toxiproxy-cli`'s.

use std::fmt::Write as _;
use std::io::IsTerminal;

use serde_json::Value;

/// What stdout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terminal {
    Yes,
    No,
}

#[derive(Clone, Copy)]
enum Colour {
    Red,
    Green,
    Yellow,
    Blue,
    Purple,
    None,
}

impl Terminal {
    pub(super) fn of_stdout() -> Self {
        if std::io::stdout().is_terminal() { Terminal::Yes } else { Terminal::No }
    }

    /// The escape that begins a colour; nothing on a pipe, and nothing where NO_COLOR asks for none.
    fn colour(self, colour: Colour) -> &'static str {
        if self == Terminal::No || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            return "";
        }
        match colour {
            Colour::Red => "\x1b[31m",
            Colour::Green => "\x1b[32m",
            Colour::Yellow => "\x1b[33m",
            Colour::Blue => "\x1b[34m",
            Colour::Purple => "\x1b[35m",
            Colour::None => "\x1b[0m",
        }
    }

    /// A field in a column of so many tab stops; on a pipe, one tab ends it.
    fn field(self, colour: Colour, text: &str, stops: usize) -> String {
        let more = match self {
            Terminal::Yes => stops.saturating_sub(text.len() / 8 + 1),
            Terminal::No => 0,
        };
        format!("{}{text}{}\t{}", self.colour(colour), self.colour(Colour::None), "\t".repeat(more))
    }

    fn hint(self, text: &str) -> String {
        match self {
            Terminal::Yes => format!("\nHint: {text}\n"),
            Terminal::No => String::new(),
        }
    }
}

pub(super) fn proxies(proxies: &Value, terminal: Terminal) -> String {
    let mut out = String::new();
    let all: Vec<&Value> = proxies.as_object().into_iter().flat_map(|all| all.values()).collect();
    if terminal == Terminal::Yes {
        let heads = [
            (Colour::Green, "Name", 3),
            (Colour::Blue, "Listen", 2),
            (Colour::Yellow, "Upstream", 3),
            (Colour::Purple, "Enabled", 2),
        ];
        out.extend(heads.map(|(colour, text, stops)| terminal.field(colour, text, stops)));
        let _ = writeln!(
            out,
            "{}Toxics{}\n{}",
            terminal.colour(Colour::Red),
            terminal.colour(Colour::None),
            "=".repeat(86)
        );
        if all.is_empty() {
            let _ =
                writeln!(out, "{}no proxies{}", terminal.colour(Colour::Red), terminal.colour(Colour::None));
            return out + &terminal.hint("create a proxy with `netem-proxy ctl create`");
        }
    }
    for proxy in all {
        let is_enabled = proxy["enabled"].as_bool().unwrap_or_default();
        out += &terminal.field(enabled_colour(is_enabled), text(proxy, "name"), 3);
        out += &terminal.field(Colour::Blue, text(proxy, "listen"), 2);
        out += &terminal.field(Colour::Yellow, text(proxy, "upstream"), 3);
        out += &terminal.field(Colour::Purple, enabled_word(is_enabled), 2);
        let count = proxy["toxics"].as_array().map_or(0, Vec::len).to_string();
        let count = if count == "0" && terminal == Terminal::Yes { "None" } else { &count };
        let _ = writeln!(out, "{}{count}{}", terminal.colour(Colour::Red), terminal.colour(Colour::None));
    }
    out + &terminal.hint("inspect toxics with `netem-proxy ctl inspect PROXY`")
}

pub(super) fn proxy(proxy: &Value, terminal: Terminal) -> String {
    let toxics: Vec<&Value> = proxy["toxics"].as_array().into_iter().flatten().collect();
    if terminal == Terminal::No {
        return toxics.into_iter().map(|one| toxic(one, terminal)).collect();
    }
    let mut out = String::new();
    for (colour, label, key, end) in [
        (Colour::Purple, "Name", "name", '\t'),
        (Colour::Blue, "Listen", "listen", '\t'),
        (Colour::Yellow, "Upstream", "upstream", '\n'),
    ] {
        let (begin, none) = (terminal.colour(colour), terminal.colour(Colour::None));
        let _ = write!(out, "{begin}{label}: {none}{}{end}", text(proxy, key));
    }
    let _ = writeln!(out, "{}", "=".repeat(70));
    let (red, green, none) =
        (terminal.colour(Colour::Red), terminal.colour(Colour::Green), terminal.colour(Colour::None));
    if toxics.is_empty() {
        let _ = writeln!(out, "{red}Proxy has no toxics enabled.{none}");
    } else {
        let (up, down): (Vec<&Value>, Vec<&Value>) =
            toxics.into_iter().partition(|toxic| text(toxic, "stream").eq_ignore_ascii_case("upstream"));
        for (title, toxics, after) in [("Upstream", up, "\n"), ("Downstream", down, "")] {
            let _ = writeln!(out, "{green}{title} toxics:{none}");
            if toxics.is_empty() {
                let _ = writeln!(out, "{red}Proxy has no {title} toxics enabled.{none}");
            }
            out.extend(toxics.into_iter().map(|one| toxic(one, terminal)));
            out += after;
        }
    }
    out + &terminal.hint("add a toxic with `netem-proxy ctl toxic add`")
}

/// `slow\ttype=latency\tstream=downstream\ttoxicity=1.00\tattributes=[\tjitter=0\tlatency=1000\t]`
fn toxic(toxic: &Value, terminal: Terminal) -> String {
    let name = text(toxic, "name");
    let mut out = match terminal {
        Terminal::Yes => {
            format!("{}{name}:{}\t", terminal.colour(Colour::Blue), terminal.colour(Colour::None))
        }
        Terminal::No => format!("{name}\t"),
    };
    let toxicity = toxic["toxicity"].as_f64().unwrap_or_default();
    let _ = write!(
        out,
        "type={}\tstream={}\ttoxicity={toxicity:.2}\tattributes=[",
        text(toxic, "type"),
        text(toxic, "stream")
    );
    let attributes = toxic["attributes"].as_object();
    // By name: a map of JSON is sorted here.
    for (key, value) in attributes.into_iter().flatten() {
        let _ = write!(out, "\t{key}={value}");
    }
    out + "\t]\n"
}

pub(super) fn toggled(proxy: &str, is_enabled: bool, terminal: Terminal) -> String {
    let (colour, none) = (terminal.colour(enabled_colour(is_enabled)), terminal.colour(Colour::None));
    format!("Proxy {colour}{proxy}{none} is now {colour}{}{none}\n", enabled_word(is_enabled))
}

pub(super) fn links(links: &Value, terminal: Terminal) -> String {
    let mut out = String::new();
    let all: Vec<&Value> = links["links"].as_array().into_iter().flatten().collect();
    if terminal == Terminal::Yes {
        let heads = [("Name", 2), ("Kind", 2), ("Listen", 3), ("Upstream", 3)];
        out.extend(heads.map(|(text, stops)| terminal.field(Colour::Green, text, stops)));
        let _ = writeln!(out, "Up | Down\n{}", "=".repeat(86));
        if all.is_empty() {
            let _ =
                writeln!(out, "{}no links{}", terminal.colour(Colour::Red), terminal.colour(Colour::None));
            return out + &terminal.hint("create a link with `netem-proxy ctl links create`");
        }
    }
    for link in all {
        for (key, stops) in [("name", 2), ("kind", 2), ("listen", 3), ("upstream", 3)] {
            out += &terminal.field(Colour::Blue, text(link, key), stops);
        }
        let between = if terminal == Terminal::Yes { " | " } else { "\t" };
        let _ = writeln!(out, "{}{between}{}", text(link, "up"), text(link, "down"));
    }
    out
}

fn text<'a>(document: &'a Value, key: &str) -> &'a str {
    document[key].as_str().unwrap_or_default()
}

fn enabled_word(is_enabled: bool) -> &'static str {
    if is_enabled { "enabled" } else { "disabled" }
}

fn enabled_colour(is_enabled: bool) -> Colour {
    if is_enabled { Colour::Green } else { Colour::Red }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipe_gets_fields_between_tabs() {
        let one = json!({
            "name": "redis", "listen": "127.0.0.1:1", "upstream": "h:2", "enabled": true,
            "toxics": [{"name": "n", "type": "latency", "stream": "downstream", "toxicity": 1,
                        "attributes": {"latency": 1000, "jitter": 0}}],
        });
        assert_eq!(
            proxy(&one, Terminal::No),
            "n\ttype=latency\tstream=downstream\ttoxicity=1.00\tattributes=[\tjitter=0\tlatency=1000\t]\n"
        );
        assert_eq!(proxies(&json!({"redis": one}), Terminal::No), "redis\t127.0.0.1:1\th:2\tenabled\t1\n");
        assert_eq!(proxies(&json!({}), Terminal::No), "");
        assert_eq!(toggled("redis", false, Terminal::No), "Proxy redis is now disabled\n");
    }

    #[test]
    fn a_terminal_gets_columns_and_a_hint() {
        let shown = proxies(&json!({}), Terminal::Yes);
        assert!(shown.contains("no proxies") && shown.contains("Hint: create a proxy"), "{shown}");
        assert!(shown.contains("Name") && shown.contains("\t\t"), "{shown}");
    }
}
