//! Scripts of what a sender must do: each file in `tests/scripts` is one, and says where its expectation comes from.

#[path = "script/mod.rs"]
mod script;

use std::collections::BTreeSet;
use std::path::Path;

use script::Script;

fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(format!("{name}.script"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let outcome = Script::parse(&text).and_then(|script| script.run());
    outcome.unwrap_or_else(|why| panic!("tests/scripts/{name}.script: {why}"));
}

macro_rules! scripts {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                play(stringify!($name));
            }
        )+
    };
}

scripts! {
    after_idle_classic,
    classic_rto_backoff,
    classic_rto_backoff_ends_with_an_ack,
    cubic_loss,
    fast_retransmit_after_three,
    fixed_window,
    limited_transmit,
    probe_backoff,
    probe_of_the_tail,
    reordering_timer,
    slow_start_ack_per_1,
    slow_start_ack_per_2,
    slow_start_ack_per_4,
    slow_start_app_limited_10_of_10,
    slow_start_app_limited_5_of_10,
    spurious_loss_undone,
    stream_keeps_order,
    two_losses_one_reduction,
    zero_window_probe,
}

#[test]
fn every_file_is_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, NAMES.iter().map(|&name| name.to_owned()).collect());
}

#[test]
fn what_a_script_does_not_expect_fails_it() {
    for (text, why) in [
        ("+0 send 1", "Data(1) left at"),
        ("+0 send 1\n+0 > data 2", "Data(2) should leave"),
        ("+0 send 1\n+.01 > data 1", "left at 0.0000 s and should at"),
        ("+0 > ping", "nothing does"),
        ("+0 ? cwnd == 3", "cwnd is 10"),
        ("+0 ? speed == 3", "nothing is called speed"),
        ("+0 send 1\n+0 > data 1\n+.1 < ack 3", "segment 2 never left"),
    ] {
        let error = Script::parse(text).unwrap().run().unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    for (text, why) in [
        ("config nothing", "a name and a value"),
        ("send 1", "begins with +seconds"),
        ("+0 dance", "an action is"),
        ("+0 < ack 1 sack", "neither sack"),
        ("+0 send 1\nconfig profile classic", "before the first step"),
    ] {
        let error = Script::parse(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
