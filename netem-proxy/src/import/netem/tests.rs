//! Commands as people write them, and what becomes of them.

use proptest::prelude::*;

use super::*;

fn import(text: &str, fidelity: Fidelity) -> Imported {
    Command::parse(text).and_then(|command| command.import(fidelity)).expect("a valid command")
}

fn spec(text: &str) -> String {
    import(text, Fidelity::Meaning).spec
}

fn error(text: &str) -> String {
    let command = Command::parse(text);
    command.and_then(|command| command.import(Fidelity::Meaning)).expect_err("a wrong command").to_string()
}

#[test]
fn commands_become_links() {
    for (text, expected) in [
        ("delay 100ms", "delay=100ms"),
        ("latency 100ms 10ms", "delay=100ms jitter=10ms order=allow"),
        ("delay 100ms 10ms 25% loss 1%", "loss=1% delay=100ms jitter=10ms correlation=25% order=allow"),
        (
            "tc qdisc add dev eth0 root handle 1: netem delay 100ms 20ms distribution normal",
            "delay=100ms jitter=20ms dist=normal order=allow",
        ),
        ("delay 5ms 2ms dist paretonormal", "delay=5ms jitter=2ms dist=paretonormal order=allow"),
        ("loss random 0.3%", "loss=0.3%"),
        ("drop 2", "loss=2%"),
        ("loss gemodel 1% 10% 70% 0.1%", "loss=ge(p=1%,r=10%,bad=70%,good=0.1%)"),
        ("loss gemodel 2%", "loss=ge(p=2%,r=98%,bad=100%,good=0%)"),
        ("loss state 1% 30% 20% 50% 0.5%", "loss=4state(p13=1%,p31=30%,p32=20%,p23=50%,p14=0.5%)"),
        ("loss state 1%", "loss=4state(p13=1%,p31=99%,p32=0%,p23=100%,p14=0%)"),
        ("duplicate 1% corrupt 0.1%", "duplicate=1% corrupt=0.1%"),
        ("rate 1mbit limit 50", "rate=1Mbit/s queue=50p"),
        ("delay 20ms 5ms rate 10mbit", "delay=20ms jitter=5ms rate=10Mbit/s"),
        ("", "none"),
    ] {
        assert_eq!(spec(text), expected, "{text}");
    }
}

#[test]
fn every_import_reads_back() {
    for text in [
        "delay 100ms 10ms 25% loss 1% 25%",
        "delay 50ms reorder 25% 50% gap 5",
        "loss gemodel 7%",
        "rate 5kbit 20 100 5 limit 9",
    ] {
        for fidelity in [Fidelity::Meaning, Fidelity::Kernel] {
            let spec = import(text, fidelity).spec;
            let profile: LinkProfile = spec.parse().expect("a valid spec");
            assert_eq!(profile.to_string(), spec);
        }
    }
}

#[test]
fn rates_have_their_overheads() {
    let command = Command::parse("rate 5kbit 20 100 5").expect("valid");
    let (rate, overhead) = command.rate.expect("a rate");
    assert_eq!(rate.bits_per_second(), 5000);
    assert_eq!(overhead, Overhead { per_packet: 20, cell: Some(Cell { size: 100, overhead: 5 }) });
    let (_, overhead) = Command::parse("rate 5kbit -4").expect("valid").rate.expect("a rate");
    assert_eq!(overhead, Overhead { per_packet: -4, cell: None });
}

#[test]
fn reordering_takes_the_kernels_way() {
    let imported = import("delay 10ms reorder 25% 50% gap 5", Fidelity::Meaning);
    assert_eq!(imported.spec, "delay=10ms order=allow compat=netem(reorder=25%,reorder-corr=50%,gap=5)");
    assert!(imported.notes[0].contains("only compat=netem does"), "{:?}", imported.notes);
    assert!(imported.notes.iter().any(|note| note.contains("really reorders")), "{:?}", imported.notes);
}

#[test]
fn notes_tell_the_true_rates() {
    let notes = import("loss 10% 25%", Fidelity::Meaning).notes;
    assert!(
        notes[0].contains("netem really hits 1.75%") && notes[0].contains("burst(10%,len=3)"),
        "{notes:?}"
    );
    let kernel = import("loss 10% 25%", Fidelity::Kernel);
    assert_eq!(kernel.spec, "loss=10% compat=netem(loss-corr=25%)");
    assert_eq!(kernel.notes, ["loss 10% with correlation 25%: netem really loses 1.75%"]);
}

#[test]
fn notes_tell_what_the_limit_limits() {
    let notes = import("delay 100ms", Fidelity::Meaning).notes;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("at most 10000 a second, 120 Mbit/s"), "{notes:?}");
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, message) in [
        ("delay 100ms jiter 5ms", "word 3: \"jiter\" is not a netem keyword; they are limit, latency"),
        ("delay fast", "delay: \"fast\" is not a time, for example 100ms"),
        ("delay", "delay: it needs a time"),
        ("loss 120%", "loss: \"120%\" is not a percentage from 0 to 100"),
        ("loss sometimes", "loss: \"sometimes\" is not a percentage, or random, state or gemodel"),
        ("loss 1% loss 2%", "loss: it is given twice"),
        ("loss 1% ecn", "ecn: a link of ours marks where its queue decides"),
        ("slot 800us 10ms packets 42", "slot: links of ours have no slots"),
        ("gap 5", "gap: it needs reorder"),
        ("reorder 25%", "only overtake where there is a delay"),
        ("distribution normal", "distribution: it needs delay"),
        ("delay 5ms 10ms", "import it with --compat"),
        ("delay 5ms 1ms distribution /nowhere/x.dist", "/nowhere/x.dist"),
        ("delay 5ms 1ms distribution no-such-law", "no-such-law.dist is in none of"),
        ("rate 5kbit 20 many", "word 4: \"many\" is not a netem keyword"),
        ("loss state 60% 50% 60%", "p31 and p32 add up to more than 100%"),
    ] {
        let error = error(text);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn a_jitter_below_zero_needs_the_kernels_way() {
    let imported = import("delay 5ms 10ms", Fidelity::Kernel);
    assert_eq!(imported.spec, "delay=5ms jitter=10ms order=allow compat=netem");
}

#[test]
fn words_may_be_cut_short_as_in_tc() {
    assert_eq!(spec("dup 1% cor 2%"), "duplicate=1% corrupt=2%");
    // tc tries "delay" before "distribution" and "drop".
    assert_eq!(spec("d 5ms"), "delay=5ms");
}

proptest! {
    #[test]
    fn no_text_panics(text in "((delay|loss|state|gemodel|reorder|gap|rate|dist|limit|seed|[0-9a-z%.]{1,6}) ){0,8}") {
        if let Ok(command) = Command::parse(&text) {
            for fidelity in [Fidelity::Meaning, Fidelity::Kernel] {
                if let Ok(imported) = command.import(fidelity) {
                    prop_assert!(imported.spec.parse::<LinkProfile>().is_ok(), "{}", imported.spec);
                }
            }
        }
    }
}
