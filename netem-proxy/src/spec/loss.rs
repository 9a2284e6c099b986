//! Loss as text: `10%`, `burst(2%,len=4)`, `ge(p=1%,r=30%)`, `4state(p13=1%)`, `every(10)`, `list(3,20..25)`,
//! `trace(FILE)`.

use std::sync::Arc;

use units::{Probability, parse_count};

use super::file;
use super::value::{ValueError, call, set_once, shape};
use crate::profile::{LossModel, LossTrace};

pub(super) fn parse_loss(text: &str) -> Result<LossModel, ValueError> {
    if let Some(count) = call(text, "every") {
        return Ok(LossModel::EveryNth { n: parse_count(count)? });
    }
    if let Some(arguments) = call(text, "burst") {
        return parse_burst(text, arguments);
    }
    if let Some(arguments) = call(text, "ge") {
        return parse_chain(text, arguments);
    }
    if let Some(arguments) = call(text, "4state") {
        return parse_four_state(text, arguments);
    }
    if let Some(numbers) = call(text, "list") {
        return parse_list(text, numbers);
    }
    if let Some(path) = call(text, "trace") {
        return Ok(LossModel::Trace(Arc::new(file::read(path.trim(), LossTrace::parse)?)));
    }
    if text.contains('(') {
        const EXAMPLE: &str = "10%, every(10) or ge(p=1%,r=30%), burst(2%,len=4), 4state(p13=1%), list(3,20..25) or trace(FILE)";
        return Err(shape(text, EXAMPLE));
    }
    Ok(LossModel::Bernoulli { p: text.parse()? })
}

fn parse_burst(text: &str, arguments: &str) -> Result<LossModel, ValueError> {
    const EXAMPLE: &str = "burst(2%,len=4)";
    let (rate, length) = arguments.split_once(',').ok_or_else(|| shape(text, EXAMPLE))?;
    let length = match length.split_once('=') {
        Some((name, value)) if name.trim() == "len" => value,
        _ => return Err(shape(text, EXAMPLE)),
    };
    let mean_length: f64 = length.trim().parse().map_err(|_| shape(text, EXAMPLE))?;
    if !mean_length.is_finite() {
        return Err(shape(text, EXAMPLE));
    }
    Ok(LossModel::Burst { rate: rate.parse()?, mean_length })
}

fn parse_chain(text: &str, arguments: &str) -> Result<LossModel, ValueError> {
    const EXAMPLE: &str = "ge(p=1%,r=30%) or ge(p=1%,r=30%,bad=100%,good=0%)";
    let [p, r, bad, good] = named(arguments, ["p", "r", "bad", "good"], text, EXAMPLE)?;
    let (Some(p), Some(r)) = (p, r) else { return Err(shape(text, EXAMPLE)) };
    // Gilbert's model: everything is lost in bad, nothing in good.
    let (loss_bad, loss_good) = (bad.unwrap_or(Probability::ONE), good.unwrap_or(Probability::ZERO));
    Ok(LossModel::GilbertElliott { p, r, loss_bad, loss_good })
}

fn parse_four_state(text: &str, arguments: &str) -> Result<LossModel, ValueError> {
    const EXAMPLE: &str = "4state(p13=1%) or 4state(p13=1%,p31=30%,p32=20%,p23=50%,p14=0.5%)";
    let [p13, p31, p32, p23, p14] = named(arguments, ["p13", "p31", "p32", "p23", "p14"], text, EXAMPLE)?;
    let p13 = p13.ok_or_else(|| shape(text, EXAMPLE))?;
    Ok(LossModel::FourState {
        p13,
        // The defaults of tc.
        p31: p31.unwrap_or_else(|| complement(p13)),
        p32: p32.unwrap_or(Probability::ZERO),
        p23: p23.unwrap_or(Probability::ONE),
        p14: p14.unwrap_or(Probability::ZERO),
    })
}

/// `1 - p`, rounded as it prints, so that what is printed reads back as the same.
pub(crate) fn complement(p: Probability) -> Probability {
    let exact = Probability::new(1.0 - p.get()).unwrap_or_default();
    exact.to_string().parse().unwrap_or(exact)
}

/// `name=share` pairs in any order, each at most once.
fn named<const N: usize>(
    arguments: &str,
    names: [&str; N],
    text: &str,
    example: &'static str,
) -> Result<[Option<Probability>; N], ValueError> {
    let mut values = [None; N];
    for argument in arguments.split(',') {
        let (name, value) = argument.split_once('=').ok_or_else(|| shape(text, example))?;
        let place = names.iter().position(|known| *known == name.trim());
        let place = place.ok_or_else(|| shape(text, example))?;
        set_once(&mut values[place], value.parse()?)?;
    }
    Ok(values)
}

fn parse_list(text: &str, numbers: &str) -> Result<LossModel, ValueError> {
    const EXAMPLE: &str = "packet numbers from 1 up, for example list(3,7,20..25), at most a million";
    let mut list = Vec::new();
    for part in numbers.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (first, last) = (parse_count(first)?, parse_count(last)?);
        let room = (MAX_LISTED - list.len()) as u64;
        if first == 0 || last < first || last - first >= room {
            return Err(shape(text, EXAMPLE));
        }
        list.extend(first..=last);
    }
    list.sort_unstable();
    list.dedup();
    Ok(LossModel::List(list.into()))
}

/// Eight megabytes; longer patterns belong in a trace.
const MAX_LISTED: usize = 1_000_000;

/// What [`parse_loss`] reads back; `None` for no loss.
pub(super) fn print_loss(model: &LossModel) -> Option<String> {
    Some(match *model {
        LossModel::None => return None,
        LossModel::Bernoulli { p } => p.to_string(),
        LossModel::Burst { rate, mean_length } => format!("burst({rate},len={mean_length})"),
        LossModel::GilbertElliott { p, r, loss_bad, loss_good } => {
            format!("ge(p={p},r={r},bad={loss_bad},good={loss_good})")
        }
        LossModel::FourState { p13, p31, p32, p23, p14 } => {
            format!("4state(p13={p13},p31={p31},p32={p32},p23={p23},p14={p14})")
        }
        LossModel::EveryNth { n } => format!("every({n})"),
        LossModel::List(ref numbers) => print_list(numbers),
        LossModel::Trace(ref trace) => format!("trace({})", trace.name),
    })
}

fn print_list(numbers: &[u64]) -> String {
    let runs = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let words: Vec<String> = runs
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}..{last}"),
            [] => String::new(),
        })
        .collect();
    format!("list({})", words.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::LinkProfile;

    fn percent(value: f64) -> Probability {
        Probability::new(value / 100.0).expect("in range")
    }

    fn error(text: &str) -> String {
        text.parse::<LinkProfile>().expect_err("a wrong spec").to_string()
    }

    #[test]
    fn every_model_has_its_text() {
        for (text, model) in [
            ("burst(2%,len=4)", LossModel::Burst { rate: percent(2.0), mean_length: 4.0 }),
            (
                "4state(p13=1%,p31=30%,p32=20%,p23=50%,p14=0.5%)",
                LossModel::FourState {
                    p13: percent(1.0),
                    p31: percent(30.0),
                    p32: percent(20.0),
                    p23: percent(50.0),
                    p14: percent(0.5),
                },
            ),
            ("list(3,7,20..22)", LossModel::List([3, 7, 20, 21, 22].into())),
        ] {
            assert_eq!(parse_loss(text), Ok(model.clone()));
            assert_eq!(print_loss(&model).as_deref(), Some(text));
        }
    }

    #[test]
    fn four_states_have_the_defaults_of_tc() {
        let model = parse_loss("4state(p13=7%)").expect("valid");
        assert_eq!(print_loss(&model).as_deref(), Some("4state(p13=7%,p31=93%,p32=0%,p23=100%,p14=0%)"));
        assert_eq!(parse_loss("4state(p13=7%,p31=93%,p32=0%,p23=100%,p14=0%)"), Ok(model));
    }

    #[test]
    fn lists_may_be_out_of_order_and_overlap() {
        let model = parse_loss("list(20..22, 3, 21..24)").expect("valid");
        assert_eq!(print_loss(&model).as_deref(), Some("list(3,20..24)"));
    }

    #[test]
    fn a_trace_comes_from_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("losses");
        std::fs::write(&path, "# three\n010\n").expect("written");
        let text = format!("loss=trace({})", path.display());
        let profile: LinkProfile = text.parse().expect("valid");
        assert_eq!(profile.to_string(), text);
        assert!((profile.mean_loss() - 1.0 / 3.0).abs() < 1e-12);
        std::fs::write(&path, "01\n0x\n").expect("written");
        let error = error(&text);
        assert!(error.ends_with("losses: line 2: \"x\" is not 0 (delivered) or 1 (lost)"), "{error}");
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        for (text, message) in [
            ("loss=burst(2%)", "write burst(2%,len=4)"),
            ("loss=burst(2%,len=x)", "write burst(2%,len=4)"),
            ("loss=burst(2%,len=nan)", "write burst(2%,len=4)"),
            ("loss=burst(2%,len=0.5)", "a burst has at least one packet"),
            ("loss=burst(80%,len=2)", "lower the rate or lengthen the bursts"),
            ("loss=4state(p31=1%)", "write 4state(p13=1%)"),
            ("loss=4state(p13=60%,p14=50%)", "p13 and p14 add up to more than 100%"),
            ("loss=4state(p13=1%,p31=60%,p32=50%)", "p31 and p32 add up to more than 100%"),
            ("loss=list(0)", "write packet numbers from 1 up"),
            ("loss=list(5..3)", "write packet numbers from 1 up"),
            ("loss=list(1..9999999)", "at most a million"),
            ("loss=trace(/nowhere/at/all)", "/nowhere/at/all: No such file"),
        ] {
            let error = error(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    fn share() -> impl Strategy<Value = Probability> {
        (0_u32..=100_000_000)
            .prop_map(|millionths| format!("{}%", f64::from(millionths) / 1e6).parse().expect("a percentage"))
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            model in prop_oneof![
                (share(), 1.0..1e6_f64).prop_map(|(rate, mean_length)| LossModel::Burst { rate, mean_length }),
                prop::array::uniform5(share()).prop_map(|[p13, p31, p32, p23, p14]| {
                    LossModel::FourState { p13, p31, p32, p23, p14 }
                }),
                prop::collection::btree_set(1_u64..500, 1..60).prop_map(|numbers| {
                    LossModel::List(numbers.into_iter().collect())
                }),
            ],
        ) {
            let text = print_loss(&model).expect("a loss");
            prop_assert_eq!(parse_loss(&text), Ok(model));
        }

        #[test]
        fn no_text_panics(
            name in prop_oneof![Just("burst"), Just("4state"), Just("list"), Just("ge"), Just("")],
            rest in "[(]?[p13=%,.0-9a-z ]{0,40}[)]?",
        ) {
            let _ = format!("loss={name}{rest}").parse::<LinkProfile>();
        }
    }
}
