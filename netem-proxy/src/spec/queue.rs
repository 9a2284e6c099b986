//! Queues as text: `100p`, `64KiB`, `100ms`, `bdp(2)`, `drophead(100p)`, `codel(target=5ms,ecn)`, …

use std::time::Duration;

use units::{ByteCount, ParseError, format_duration, parse_count, parse_duration};

use super::arguments::Arguments;
use super::value::{ValueError, call, shape};
use crate::profile::{Discipline, QueueLimit, QueueModel};

const EXAMPLE: &str =
    "100p, 64KiB, 100ms, bdp(2), infinite, drophead(100p), codel, pie, fq-codel or red(min=30kB,max=90kB)";

pub(super) fn parse_queue(text: &str) -> Result<QueueModel, ValueError> {
    for (name, discipline) in [("droptail", Discipline::DropTail), ("drophead", Discipline::DropHead)] {
        if let Some(mut arguments) = Arguments::of(text, name, "drophead(100p)") {
            let limit = arguments.plain().map(parse_limit).transpose()?.unwrap_or_default();
            arguments.end()?;
            return Ok(QueueModel { discipline, limit, ecn: false });
        }
    }
    if let Some(arguments) = Arguments::of(text, "codel", "codel(target=5ms,interval=100ms,limit=1000p,ecn)")
    {
        return active(arguments, |arguments| {
            let (target, interval) = (span(arguments, "target")?, span(arguments, "interval")?);
            Ok(Discipline::CoDel { target: target.unwrap_or(TARGET), interval: interval.unwrap_or(INTERVAL) })
        });
    }
    if let Some(arguments) =
        Arguments::of(text, "pie", "pie(target=15ms,update=15ms,burst=150ms,limit=1000p,ecn)")
    {
        return active(arguments, |arguments| {
            let [target, update, burst] = ["target", "update", "burst"].map(|name| span(arguments, name));
            Ok(Discipline::Pie {
                target: target?.unwrap_or(PIE_TARGET),
                update: update?.unwrap_or(PIE_TARGET),
                max_burst: burst?.unwrap_or(PIE_BURST),
            })
        });
    }
    let example = "fq-codel(flows=1024,quantum=1514B,target=5ms,interval=100ms,limit=1000p,ecn)";
    if let Some(arguments) = Arguments::of(text, "fq-codel", example) {
        return active(arguments, |arguments| {
            let flows = arguments.named("flows", parse_count)?.unwrap_or(FLOWS);
            Ok(Discipline::FqCoDel {
                flows: u32::try_from(flows).map_err(|_| arguments.wrong())?,
                quantum: arguments.quantity("quantum")?.unwrap_or(QUANTUM),
                target: span(arguments, "target")?.unwrap_or(TARGET),
                interval: span(arguments, "interval")?.unwrap_or(INTERVAL),
            })
        });
    }
    if let Some(arguments) = Arguments::of(text, "red", "red(min=30kB,max=90kB,p=10%,weight=0.002,ecn)") {
        return active(arguments, |arguments| {
            let Discipline::Red { mut min, mut max, mut max_p, mut weight } = Discipline::red() else {
                unreachable!("red() is Red");
            };
            min = arguments.quantity("min")?.unwrap_or(min);
            max = arguments.quantity("max")?.unwrap_or(max);
            max_p = arguments.quantity("p")?.unwrap_or(max_p);
            weight = arguments.number("weight")?.unwrap_or(weight);
            Ok(Discipline::Red { min, max, max_p, weight })
        });
    }
    Ok(QueueModel { limit: parse_limit(text)?, ..QueueModel::default() })
}

/// A discipline with a limit and, on request, marking.
fn active(
    mut arguments: Arguments<'_>,
    discipline: impl FnOnce(&mut Arguments<'_>) -> Result<Discipline, ValueError>,
) -> Result<QueueModel, ValueError> {
    let discipline = discipline(&mut arguments)?;
    let limit = arguments.named("limit", parse_limit)?.unwrap_or_default();
    let ecn = arguments.flag("ecn")?;
    arguments.end()?;
    Ok(QueueModel { discipline, limit, ecn })
}

fn span(arguments: &mut Arguments<'_>, name: &str) -> Result<Option<Duration>, ValueError> {
    arguments.named(name, parse_duration)
}

fn parse_limit(text: &str) -> Result<QueueLimit, ValueError> {
    match text {
        "default" => return Ok(QueueLimit::Default),
        "infinite" => return Ok(QueueLimit::Infinite),
        _ => {}
    }
    if let Some(products) = call(text, "bdp") {
        return match products.trim().parse::<f64>() {
            Ok(products) if products.is_finite() => Ok(QueueLimit::Bdp(products)),
            _ => Err(shape(text, "bdp(2) for twice the bandwidth-delay product")),
        };
    }
    if let Some(packets) = text.strip_suffix('p') {
        return Ok(QueueLimit::Packets(parse_count(packets)?));
    }
    let bytes = text.parse().map(QueueLimit::Bytes);
    let limit = bytes.or_else(|_: ParseError| parse_duration(text).map(QueueLimit::Time));
    limit.map_err(|_| shape(text, EXAMPLE))
}

/// What [`parse_queue`] reads back; `None` for the default.
pub(super) fn print_queue(queue: &QueueModel) -> Option<String> {
    let (name, mut arguments) = print_discipline(&queue.discipline);
    let limit = print_limit(queue.limit);
    match queue.discipline {
        Discipline::DropTail => return limit,
        Discipline::DropHead => arguments.extend(limit),
        _ => {
            arguments.extend(limit.map(|limit| format!("limit={limit}")));
            arguments.extend(queue.ecn.then(|| "ecn".to_owned()));
        }
    }
    Some(if arguments.is_empty() { name.to_owned() } else { format!("{name}({})", arguments.join(",")) })
}

/// The name, and the arguments that are not the default.
fn print_discipline(discipline: &Discipline) -> (&'static str, Vec<String>) {
    let span = |name: &str, value: Duration, default: Duration| {
        (value != default).then(|| format!("{name}={}", format_duration(value)))
    };
    match *discipline {
        Discipline::DropTail => ("droptail", Vec::new()),
        Discipline::DropHead => ("drophead", Vec::new()),
        Discipline::CoDel { target, interval } => {
            let words = [span("target", target, TARGET), span("interval", interval, INTERVAL)];
            ("codel", words.into_iter().flatten().collect())
        }
        Discipline::Pie { target, update, max_burst } => {
            let words = [
                span("target", target, PIE_TARGET),
                span("update", update, PIE_TARGET),
                span("burst", max_burst, PIE_BURST),
            ];
            ("pie", words.into_iter().flatten().collect())
        }
        Discipline::FqCoDel { flows, quantum, target, interval } => {
            let words = [
                (u64::from(flows) != FLOWS).then(|| format!("flows={flows}")),
                (quantum != QUANTUM).then(|| format!("quantum={quantum}")),
                span("target", target, TARGET),
                span("interval", interval, INTERVAL),
            ];
            ("fq-codel", words.into_iter().flatten().collect())
        }
        Discipline::Red { min, max, max_p, weight } => {
            ("red", vec![format!("min={min},max={max},p={max_p},weight={weight}")])
        }
    }
}

fn print_limit(limit: QueueLimit) -> Option<String> {
    Some(match limit {
        QueueLimit::Default => return None,
        QueueLimit::Infinite => "infinite".to_owned(),
        QueueLimit::Packets(packets) => format!("{packets}p"),
        QueueLimit::Bytes(bytes) => bytes.to_string(),
        QueueLimit::Time(span) => format_duration(span),
        QueueLimit::Bdp(products) => format!("bdp({products})"),
    })
}

// The defaults of [`Discipline::CODEL`], [`Discipline::PIE`] and [`Discipline::FQ_CODEL`], one by one.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);
const PIE_TARGET: Duration = Duration::from_millis(15);
const PIE_BURST: Duration = Duration::from_millis(150);
const FLOWS: u64 = 1024;
const QUANTUM: ByteCount = ByteCount(1514);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_means_the_published_defaults() {
        let discipline = |text: &str| parse_queue(text).expect("valid").discipline;
        assert_eq!(discipline("codel"), Discipline::CODEL);
        assert_eq!(discipline("pie"), Discipline::PIE);
        assert_eq!(discipline("fq-codel"), Discipline::FQ_CODEL);
        assert_eq!(discipline("red"), Discipline::red());
    }

    #[test]
    fn queues_print_as_they_are_written() {
        for text in [
            "100p",
            "64KiB",
            "100ms",
            "bdp(1.5)",
            "infinite",
            "drophead",
            "drophead(100p)",
            "codel",
            "codel(target=10ms,limit=bdp(2),ecn)",
            "pie(burst=0s,ecn)",
            "fq-codel(flows=16,quantum=300B,interval=50ms,limit=10240p)",
            "red(min=30000B,max=90000B,p=5%,weight=0.01,limit=200p)",
        ] {
            let queue = parse_queue(text).expect(text);
            assert_eq!(print_queue(&queue).as_deref(), Some(text));
        }
    }

    #[test]
    fn wrong_queues_say_what_to_write() {
        for (text, message) in [
            ("many", "write 100p, 64KiB, 100ms"),
            ("codel(5ms)", "write codel(target=5ms"),
            ("codel(target=5)", "has no unit"),
            ("codel(ecn,ecn)", "given twice"),
            ("pie(limit=1p,limit=2p)", "given twice"),
            ("red(weight=x)", "write red(min=30kB"),
            ("bdp(x)", "write bdp(2)"),
        ] {
            let error = parse_queue(text).expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
