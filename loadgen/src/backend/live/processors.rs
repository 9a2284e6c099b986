//! Who used the processors during a run: the generator's own threads, and everybody else.
//!
//! A generator beside other busy programs measures its place in their queue. Lag and hiccups show that only in part: a
//! scheduler favours threads which sleep a lot, so that of pacing is punctual more often than server and clients. So the
//! machine is asked, too.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

/// What `/proc` said at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Nanoseconds that threads have run, by name.
    threads: BTreeMap<String, u64>,
    machine: Machine,
    /// Of this process, ended threads too, in ticks; and of others that are part of the run.
    own: u64,
    part: u64,
}

/// Ticks of all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Machine {
    programs: u64,
    idle: u64,
    total: u64,
}

/// Between two readings.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// Seconds by group of threads.
    pub(super) cpu_s: BTreeMap<String, f64>,
    /// What of the machine, in processors, other programs used, and its share that was idle.
    others: f64,
    idle: f64,
    processors: f64,
}

impl Reading {
    /// `part` are other processes that belong to the run.
    pub(super) fn take(part: &[u32]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let path = entry.path();
            let text = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            let nanos = text("schedstat").split_whitespace().next().and_then(|text| text.parse().ok());
            *threads.entry(text("comm").trim().to_owned()).or_insert(0) += nanos.unwrap_or(0_u64);
        }
        let part = part.iter().map(|pid| process_ticks(&read(&format!("/proc/{pid}/stat")))).sum();
        let own = process_ticks(&read("/proc/self/stat"));
        Self { threads, machine: machine(&read("/proc/stat")), own, part }
    }

    /// What was used since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Usage {
        let seconds = |(name, nanos): (&String, &u64)| {
            let before = earlier.threads.get(name).copied().unwrap_or(0);
            (name.clone(), nanos.saturating_sub(before) as f64 / 1e9)
        };
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as f64;
        let total = (self.machine.total - earlier.machine.total.min(self.machine.total)) as f64;
        let share = |ticks: u64| if total > 0.0 { ticks as f64 / total } else { 0.0 };
        let programs = self.machine.programs.saturating_sub(earlier.machine.programs);
        // One that has ended takes its ticks along.
        let part = self.part.saturating_sub(earlier.part);
        let others = programs.saturating_sub(self.own.saturating_sub(earlier.own) + part);
        let mut cpu_s: BTreeMap<String, f64> = self.threads.iter().map(seconds).collect();
        if self.part > 0 {
            cpu_s.insert("server process".to_owned(), part as f64 / TICKS_PER_SECOND);
        }
        Usage {
            cpu_s,
            others: share(others) * processors,
            idle: if total > 0.0 {
                share(self.machine.idle.saturating_sub(earlier.machine.idle))
            } else {
                1.0
            },
            processors,
        }
    }
}

impl Usage {
    /// Why the run measured other programs as well.
    pub(super) fn problem(&self) -> Option<String> {
        let is_busy = self.idle < LEAST_IDLE && self.others > self.processors * MOST_OTHERS;
        is_busy.then(|| {
            format!(
                "other programs used {:.1} of this machine's {} processors, of which {:.0} % was idle; free the machine",
                self.others,
                self.processors,
                self.idle * 100.0
            )
        })
    }
}

/// Processor time and memory of a process; `None` where it cannot be asked.
pub(super) fn of_process(pid: u32) -> (Option<Duration>, Option<u64>) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let cpu =
        read("stat").map(|text| Duration::from_secs_f64(process_ticks(&text) as f64 / TICKS_PER_SECOND));
    // In pages: all of it, then what is resident.
    let pages = read("statm").and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    (cpu, pages.map(|pages| pages * rustix::param::page_size() as u64))
}

/// Processor time of this process so far.
pub(super) fn own() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = u32::try_from(spent.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), nanos)
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`.
fn machine(text: &str) -> Machine {
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|text| text.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    // Interrupts are nobody's: much of them is our own packets.
    Machine { programs: at(0) + at(1) + at(2), idle: at(3) + at(4), total: ticks.iter().sum() }
}

/// User and system ticks from `/proc/PID/stat`; the name in it may hold spaces and brackets.
fn process_ticks(text: &str) -> u64 {
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let at = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // Fields 14 and 15 of the whole line; the first here is the third.
    at(11) + at(12)
}

/// `USER_HZ`: what `/proc` counts in, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;
/// With less left over, whoever wants to run waits for another.
const LEAST_IDLE: f64 = 0.10;
/// Share of the processors that others may take even then: a run that saturates the machine by itself is judged by its lag.
const MOST_OTHERS: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_by_place() {
        let text = "cpu  100 5 20 700 30 4 6 35 0 0\ncpu0 1 2 3\n";
        assert_eq!(machine(text), Machine { programs: 125, idle: 730, total: 900 });
        assert_eq!(machine(""), Machine::default());
    }

    #[test]
    fn a_process_is_read_behind_its_name() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 5 6 7";
        assert_eq!((process_ticks(text), process_ticks("")), (300, 0));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let (cpu, rss) = of_process(std::process::id());
        assert!(rss.is_some_and(|bytes| bytes > 1 << 20), "{rss:?}");
        assert!(cpu.is_some() && own() > Duration::ZERO);
        assert_eq!(of_process(u32::MAX), (None, None));
    }

    #[test]
    fn two_hogs_on_two_processors_are_a_problem_and_a_run_alone_is_none() {
        let usage = |others, idle| Usage { others, idle, processors: 2.0, ..Usage::default() };
        assert!(usage(1.4, 0.0).problem().is_some_and(|text| text.starts_with("other programs used 1.4 of")));
        assert_eq!(usage(0.1, 0.0).problem(), None, "it saturates the machine by itself");
        assert_eq!(usage(1.0, 0.4).problem(), None, "there is room for both");
    }

    #[test]
    fn usage_is_the_difference_of_readings() {
        let reading = |programs, idle, own, nanos| Reading {
            threads: BTreeMap::from([("pacing".to_owned(), nanos)]),
            machine: Machine { programs, idle, total: programs + idle },
            own,
            part: 0,
        };
        let usage = reading(300, 500, 100, 3_000_000_000).since(&reading(100, 300, 50, 1_000_000_000));
        assert!((usage.cpu_s["pacing"] - 2.0).abs() < 1e-9 && (usage.idle - 0.5).abs() < 1e-9);
        assert!((usage.others / usage.processors - 150.0 / 400.0).abs() < 1e-9, "{usage:?}");
    }
}
