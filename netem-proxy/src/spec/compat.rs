//! The faults of netem as text: `netem`, `netem(loss-corr=25%,reorder=25%,gap=5)`.

use units::{Probability, parse_count};

use super::value::{ValueError, call, set_once, shape};
use crate::profile::NetemCompat;

const EXAMPLE: &str =
    "netem or netem(loss-corr=25%,duplicate-corr=25%,corrupt-corr=25%,reorder=25%,reorder-corr=50%,gap=5)";

pub(super) fn parse_compat(text: &str) -> Result<NetemCompat, ValueError> {
    if text == "netem" {
        return Ok(NetemCompat::default());
    }
    let arguments = call(text, "netem").ok_or_else(|| shape(text, EXAMPLE))?;
    let (mut gap, mut shares): (_, [Option<Probability>; 5]) = (None, [None; 5]);
    for argument in arguments.split(',') {
        let (name, value) = argument.split_once('=').ok_or_else(|| shape(text, EXAMPLE))?;
        let name = name.trim();
        if name == "gap" {
            let count = u32::try_from(parse_count(value)?).map_err(|_| shape(text, EXAMPLE))?;
            set_once(&mut gap, count)?;
            continue;
        }
        let place = NAMES.iter().position(|known| *known == name).ok_or_else(|| shape(text, EXAMPLE))?;
        set_once(&mut shares[place], value.parse()?)?;
    }
    let [loss_correlation, duplicate_correlation, corrupt_correlation, reorder, reorder_correlation] =
        shares.map(Option::unwrap_or_default);
    // As tc: reordering without a gap may happen to every packet.
    let gap = gap.unwrap_or(u32::from(!reorder.is_zero()));
    Ok(NetemCompat {
        loss_correlation,
        duplicate_correlation,
        corrupt_correlation,
        reorder,
        reorder_correlation,
        gap,
    })
}

/// What [`parse_compat`] reads back.
pub(super) fn print_compat(compat: &NetemCompat) -> String {
    let shares: [Probability; 5] = [
        compat.loss_correlation,
        compat.duplicate_correlation,
        compat.corrupt_correlation,
        compat.reorder,
        compat.reorder_correlation,
    ];
    let mut arguments: Vec<String> = NAMES
        .iter()
        .zip(shares)
        .filter(|(_, share)| !share.is_zero())
        .map(|(name, share)| format!("{name}={share}"))
        .collect();
    if compat.gap != u32::from(!compat.reorder.is_zero()) {
        arguments.push(format!("gap={}", compat.gap));
    }
    if arguments.is_empty() { "netem".to_owned() } else { format!("netem({})", arguments.join(",")) }
}

const NAMES: [&str; 5] = ["loss-corr", "duplicate-corr", "corrupt-corr", "reorder", "reorder-corr"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reordering_without_a_gap_has_one_of_one() {
        let compat = parse_compat("netem(reorder=25%, reorder-corr=50%)").expect("valid");
        assert_eq!(compat.gap, 1);
        assert_eq!(print_compat(&compat), "netem(reorder=25%,reorder-corr=50%)");
    }

    #[test]
    fn wrong_ones_show_a_right_one() {
        for text in ["linux", "netem()", "netem(loss=25%)", "netem(gap=99999999999)"] {
            assert!(parse_compat(text).expect_err(text).to_string().contains("write netem"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(shares in prop::array::uniform5(0_u32..=1000), gap in 0_u32..10) {
            let p = |thousandths: u32| format!("{}%", f64::from(thousandths) / 10.0).parse().expect("a percentage");
            let [loss_correlation, duplicate_correlation, corrupt_correlation, reorder, reorder_correlation] =
                shares.map(p);
            let compat = NetemCompat {
                loss_correlation, duplicate_correlation, corrupt_correlation, reorder, reorder_correlation, gap,
            };
            prop_assert_eq!(parse_compat(&print_compat(&compat)), Ok(compat));
        }
    }
}
