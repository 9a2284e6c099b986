//! `preset=lte.down`: a built-in link as the base that the other keys are laid over.
//!
//! A preset has two directions and a SPEC is one of them, so it is named, unless the preset is the same in both or
//! whoever reads the SPEC knows the direction ([`Spec::for_side`]).

use super::value::{ValueError, shape};
use super::{Spec, SpecError};
use crate::preset;

/// Which direction of a two-way link a SPEC describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Client to server.
    Up,
    Down,
}

/// A preset, and which side of it, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresetChoice {
    pub name: &'static str,
    pub side: Option<Side>,
    up: &'static str,
    down: &'static str,
}

pub(super) fn parse_preset(text: &str) -> Result<PresetChoice, ValueError> {
    let (name, side) = match (text.strip_suffix(".up"), text.strip_suffix(".down")) {
        (Some(name), _) => (name, Some(Side::Up)),
        (_, Some(name)) => (name, Some(Side::Down)),
        _ => (text, None),
    };
    let found = preset::find(name)
        .ok_or_else(|| shape(text, "one that `netem-proxy presets` lists, for example lte"))?;
    Ok(PresetChoice { name: found.name, side, up: found.up, down: found.down })
}

impl Spec {
    /// Says which direction this is, for a preset that does not.
    #[must_use]
    pub fn for_side(mut self, side: Side) -> Spec {
        if let Some(choice) = &mut self.preset {
            choice.side.get_or_insert(side);
        }
        self
    }

    /// These keys over those of the preset.
    pub(super) fn with_preset(mut self) -> Result<Spec, SpecError> {
        let Some(choice) = self.preset.take() else { return Ok(self) };
        let text = match choice.side {
            Some(Side::Up) => choice.up,
            Some(Side::Down) => choice.down,
            None if choice.up == choice.down => choice.up,
            None => return Err(SpecError::PresetSide { name: choice.name }),
        };
        Ok(self.over(text.parse()?))
    }
}
