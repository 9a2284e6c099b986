//! Gates as text: `blackout=20s+3s/30s`, `hold=20s+3s`, `flap=up(10s)/down(1s)`, `rebind=30s/60s`.

use units::{format_duration, parse_duration};

use super::value::{ValueError, call, shape};
use crate::profile::{Gate, Window};

pub(super) fn parse_window(text: &str) -> Result<Window, ValueError> {
    const EXAMPLE: &str = "at+duration, for example 20s+3s, or 20s+3s/30s to repeat it";
    let (at, rest) = text.split_once('+').ok_or_else(|| shape(text, EXAMPLE))?;
    let (duration, every) = match rest.split_once('/') {
        Some((duration, every)) => (duration, Some(parse_duration(every)?)),
        None => (rest, None),
    };
    Ok(Window { at: parse_duration(at)?, duration: parse_duration(duration)?, every })
}

pub(super) fn parse_flap(text: &str) -> Result<Gate, ValueError> {
    const EXAMPLE: &str = "the mean time up and down, for example up(10s)/down(1s)";
    let turns = text.split_once('/').and_then(|(up, down)| Some((call(up, "up")?, call(down, "down")?)));
    let (up, down) = turns.ok_or_else(|| shape(text, EXAMPLE))?;
    Ok(Gate::Flap { up: parse_duration(up)?, down: parse_duration(down)? })
}

pub(super) fn parse_rebind(text: &str) -> Result<Gate, ValueError> {
    let (at, every) = match text.split_once('/') {
        Some((at, every)) => (at, Some(parse_duration(every)?)),
        None => (text, None),
    };
    Ok(Gate::Rebind { at: parse_duration(at)?, every })
}

/// A word of a SPEC.
pub(super) fn print_gate(gate: &Gate) -> String {
    let every =
        |every: Option<_>| every.map_or(String::new(), |every| format!("/{}", format_duration(every)));
    let window = |window: &Window| {
        format!("{}+{}{}", format_duration(window.at), format_duration(window.duration), every(window.every))
    };
    match gate {
        Gate::Blackout(span) => format!("blackout={}", window(span)),
        Gate::Hold(span) => format!("hold={}", window(span)),
        Gate::Flap { up, down } => {
            format!("flap=up({})/down({})", format_duration(*up), format_duration(*down))
        }
        Gate::Rebind { at, every: period } => format!("rebind={}{}", format_duration(*at), every(*period)),
    }
}
