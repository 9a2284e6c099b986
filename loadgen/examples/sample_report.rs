//! Writes a report from synthetic records, to look at while its page or figures are worked on.
//!
//! `cargo run --release -p loadgen --example sample_report -- chat|arms|sweep|large|outage|hostile DIR`

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use loadgen::report::synthetic::{self, Shape, Vary};
use loadgen::report::{Saved, render, write_records};
use units::Clock;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let kind = words.next().context("name a kind: chat, arms, sweep, large, outage, hostile")?;
    let dir = PathBuf::from(words.next().context("name a folder to write to")?);
    let saved = sample(&kind)?;
    std::fs::create_dir_all(&dir)?;
    write_records(&dir, &saved)?;
    let clock = Clock::start();
    let rendered = render(&dir)?;
    println!("{} files in {:.2} s", rendered.files.len(), clock.now().as_secs_f64());
    Ok(())
}

fn sample(kind: &str) -> Result<Saved> {
    let shape = Shape::default();
    let small = Shape { clients: 20, steady_s: 20, ..shape.clone() };
    Ok(match kind {
        "chat" => synthetic::chat(&shape, 1),
        "arms" => synthetic::arms(&small, 5),
        "sweep" => {
            let losses = Vary::loss(&[0.0, 0.01, 0.05, 0.1, 0.2]);
            synthetic::grid(&small, &[losses, Vary::delay(&[10, 50, 200])], 3)
        }
        "large" => {
            let losses = [0.0, 0.001, 0.003, 0.01, 0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3];
            synthetic::grid(&small, &[Vary::loss(&losses), Vary::delay(&[5, 20, 50, 100, 200])], 5)
        }
        "outage" => synthetic::chat(
            &Shape { driver: "real", outages: vec![(10.0, 12.0), (18.0, 19.0)], given_up: 0.004, ..shape },
            2,
        ),
        "hostile" => {
            let name = "</script><script>alert(1)</script>\"'<!--".to_owned();
            let mut saved = synthetic::arms(&Shape { name: name.clone(), title: name.clone(), ..small }, 2);
            for run in &mut saved.runs {
                run.workloads[0].name.clone_from(&name);
                run.exemplars.iter_mut().for_each(|exemplar| exemplar.workload.clone_from(&name));
                run.phases[0].name.clone_from(&name);
                run.warnings.push(name.clone());
            }
            saved
        }
        other => bail!("{other} is no kind; choose chat, arms, sweep, large, outage or hostile"),
    })
}
