//! Links with names, their numbers and where these come from.
//!
//! A preset is a starting point, not a measurement of your network: each says its source, and which of its numbers are
//! our choice. Delays are one way and half of the round trip that the source gives; a source that says nothing of jitter,
//! loss or queues gets none, or what its line says. `netem-proxy presets` prints this list; docs/PRESETS.md explains it.

mod list;

use crate::profile::LinkProfile;

/// A link with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// What it stands for, in one line.
    pub about: &'static str,
    /// Client to server, as a SPEC.
    pub up: &'static str,
    /// Server to client, as a SPEC.
    pub down: &'static str,
    /// Where the numbers come from, and which are our choice.
    pub source: &'static str,
}

impl Preset {
    /// Client to server.
    #[must_use]
    pub fn up_profile(&self) -> LinkProfile {
        self.up.parse().expect("a test parses every preset")
    }

    /// Server to client.
    #[must_use]
    pub fn down_profile(&self) -> LinkProfile {
        self.down.parse().expect("a test parses every preset")
    }
}

/// Every preset, from the best network to the worst.
#[must_use]
pub fn all() -> &'static [Preset] {
    &list::PRESETS
}

/// The preset of this name or alias; letters of either case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    all().iter().find(|preset| {
        std::iter::once(preset.name)
            .chain(preset.aliases.iter().copied())
            .any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// The nearest name, for those who mistyped one.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let near = |known: &str| strsim::jaro_winkler(name, known);
    let names =
        all().iter().flat_map(|preset| std::iter::once(preset.name).chain(preset.aliases.iter().copied()));
    names.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|best| near(best) > 0.7)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_preset_is_a_link_and_prints_as_it_is_written() {
        for preset in all() {
            for text in [preset.up, preset.down] {
                let profile: LinkProfile =
                    text.parse().unwrap_or_else(|error| panic!("{}: {error}", preset.name));
                assert_eq!(profile.to_string(), text, "{}", preset.name);
            }
            assert_eq!(preset.up_profile().to_string(), preset.up);
            assert_eq!(preset.down_profile().to_string(), preset.down);
            for text in [preset.about, preset.source] {
                assert!(text.len() > 10 && !text.ends_with('.'), "{}: {text}", preset.name);
            }
        }
    }

    #[test]
    fn names_are_found_and_no_two_are_alike() {
        let mut names = BTreeSet::new();
        for preset in all() {
            for name in std::iter::once(&preset.name).chain(preset.aliases) {
                assert!(names.insert(*name), "{name} is there twice");
                assert_eq!(find(&name.to_uppercase()), Some(preset));
            }
        }
        assert_eq!(find("carrier-pigeon"), None);
        assert_eq!(nearest("satelite"), Some("satellite"));
        assert_eq!(nearest("qqq"), None);
    }

    /// The page is written by hand around one table, which must say what the program says.
    #[test]
    fn the_page_shows_every_preset_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PRESETS.md");
        let page = std::fs::read_to_string(path).expect("docs/PRESETS.md");
        for Preset { name, up, down, source, .. } in all() {
            let row = format!("| `{name}` | `{up}` | `{down}` | {source} |");
            assert!(page.contains(&row), "docs/PRESETS.md lacks the row\n{row}");
        }
        let rows =
            page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3).count();
        assert_eq!(rows, all().len());
    }
}
