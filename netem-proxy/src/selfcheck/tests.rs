//! The table itself, on fewer packets and seeds than the command's.

use super::*;

#[test]
fn every_row_is_a_valid_link() {
    for row in rows::ROWS {
        assert!(row.link.profile().is_ok(), "{:?}", row.link.profile());
    }
    for spec in rows::DETERMINED {
        assert!(spec.parse::<LinkProfile>().is_ok(), "{spec}");
    }
}

#[test]
fn the_model_does_what_it_says() {
    let report = model(&Plan { packets: 200_000, seeds: 5, seed: 1, threads: 2 });
    let failed: Vec<&Finding> = report.findings.iter().filter(|finding| !finding.pass).collect();
    assert!(report.pass && failed.is_empty(), "{failed:#?}");
    assert!(report.tests > 100);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads| {
        let report = model(&Plan { packets: 20_000, seeds: 2, seed: 9, threads });
        serde_json::to_string(&report).expect("a document")
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn the_verdicts_are_the_published_ones() {
    assert_eq!(determinism_digest(1).to_string(), published_digest());
}

/// A check that cannot fail proves nothing: links that are a little wrong must be found out.
#[test]
fn a_link_that_is_not_what_it_says_is_found_out() {
    let case = |says: &str, does: &str| {
        let claimed: LinkProfile = says.parse().expect("valid");
        let real: LinkProfile = does.parse().expect("valid");
        (claimed, real)
    };
    // Each pair differs by less than a person would see.
    for (says, does, check) in [
        ("loss=1%", "loss=1.1%", loss::bernoulli as Check),
        ("loss=1%", "loss=ge(p=0.75%,r=74.25%)", loss::bernoulli),
        ("loss=ge(p=1%,r=30%)", "loss=ge(p=1%,r=33%)", loss::gilbert),
        ("delay=50ms jitter=20ms order=allow", "delay=50ms jitter=20200us order=allow", delay::law),
        ("delay=50ms jitter=5ms dist=normal order=allow", "delay=50ms jitter=8660us order=allow", delay::law),
        ("duplicate=1%", "duplicate=1.1%", exact::duplicates),
        ("corrupt=10%", "corrupt=10.5%", exact::corruption),
    ] {
        let (claimed, real) = case(says, does);
        let smallest = smallest_p_value(&claimed, &real, check);
        assert!(smallest < 1e-4, "{does} passes for {says}: {smallest}");
    }
}

/// What a check that believes in `claimed` says of packets that met `real`.
fn smallest_p_value(claimed: &LinkProfile, real: &LinkProfile, check: Check) -> f64 {
    let case = Case { profile: claimed, real: Some(real), seed: Seed::root(5), packets: 300_000 };
    check(&case)
        .iter()
        .filter_map(|measure| match measure.evidence {
            Evidence::Chance(p_value) => Some(p_value),
            Evidence::Exact(_) => None,
        })
        .fold(1.0, f64::min)
}
