//! Whether this process may open as many files as its clients need, asked before the first of them connects.
//!
//! Every socket is a descriptor, and a process that runs out of them half-way measures that. The soft limit, which a shell
//! sets low for programs that use `select`, is raised to the hard one; beyond that only an administrator can go.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::backend::{RunError, RunPlan, ServerAt};
use crate::scenario::{Scenario, Transport};

/// Makes room for the sockets of `plan`.
///
/// # Errors
/// What there is, what is needed, and what to do.
pub(super) fn make_room(plan: &RunPlan) -> Result<(), RunError> {
    let needed = needed(&plan.scenario, plan.server == ServerAt::InProcess) + RESERVE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let granted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), ..limit });
    if raised.is_ok() && granted >= needed {
        return Ok(());
    }
    Err(RunError::Setup(too_few(&plan.scenario, needed, limit.maximum.unwrap_or(granted))))
}

fn too_few(scenario: &Scenario, needed: u64, limit: u64) -> String {
    let transport = scenario.transport.name();
    let hint = if scenario.transport == Transport::Udp {
        ""
    } else {
        ", take protocol.transport = \"udp\", which needs fewer,"
    };
    format!(
        "{} clients over {transport} need {needed} open files, and this process may have {limit}; raise the hard limit \
         (ulimit -Hn){hint} or ask for fewer clients",
        scenario.client_count()
    )
}

/// Sockets of all clients, in this process.
fn needed(scenario: &Scenario, has_server: bool) -> u64 {
    let sockets = |link: bool| {
        let server = u64::from(has_server);
        match scenario.transport {
            // The server has one socket for all. A relay has one for each client.
            Transport::Udp | Transport::Quic => 1 + u64::from(link),
            // The relay has two.
            Transport::Tcp | Transport::Tls if !scenario.is_over_kernel_tcp() => {
                1 + server + 2 * u64::from(link)
            }
            Transport::Tcp | Transport::Tls | Transport::KernelTcp => 1 + server,
        }
    };
    scenario.clients.iter().map(|group| u64::from(group.count) * sockets(group.link.is_some())).sum()
}

/// For everything else: listeners, threads' epoll sets, reports.
const RESERVE: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load_str;

    fn scenario(transport: &str, link: &str) -> Scenario {
        let text = format!(
            "schema = 1\n[scenario]\nname = \"many\"\ntitle = \"Many\"\nkind = \"concurrency\"\n\
             [protocol]\ntransport = \"{transport}\"\n[link.l.both]\ndelay = \"1ms\"\n\
             [[clients]]\nname = \"a\"\ncount = 1000\n{link}\n\
             [[phase]]\nname = \"steady\"\nduration = \"1s\"\n\
             [[workload]]\nname = \"w\"\nkind = \"room\"\narrival = {{ process = \"poisson\", rate = \"1/s\", per = \"client\" }}\nsize = \"100B\"\n\
             [[assert]]\nid = \"a\"\nexpr = \"lost == 0\"\n"
        );
        load_str("many.toml", &text, &[]).expect("a valid scenario").scenario
    }

    #[test]
    fn every_socket_of_this_process_counts() {
        let link = "link = \"l\"";
        assert_eq!(needed(&scenario("udp", ""), true), 1000);
        assert_eq!(needed(&scenario("udp", link), true), 2000);
        assert_eq!(needed(&scenario("tcp", ""), true), 2000);
        assert_eq!(needed(&scenario("tcp", ""), false), 1000);
        assert_eq!(needed(&scenario("tcp", link), true), 4000);
    }

    #[test]
    fn the_message_says_what_there_is_and_what_to_do() {
        let text = too_few(&scenario("tcp", ""), 2128, 1024);
        assert!(
            text.starts_with("1000 clients over tcp need 2128 open files, and this process may have 1024; "),
            "{text}"
        );
        assert!(text.contains("udp") && !too_few(&scenario("udp", ""), 1, 1).contains("take"), "{text}");
    }
}
