//! A network namespace that exists as long as somebody is in it.
//!
//! A thread of ours moves into a new namespace and stays there, doing what it is asked to: open a device, start a
//! command. There is no file under `/run/netns`, so when this process ends in any way, and the commands it started
//! have ended, the kernel takes the namespace away.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};

use super::netlink::Netlink;

/// A network namespace, empty but for its loopback device.
#[derive(Debug)]
pub struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn new() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (report, made) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn(move || {
            let entered = enter();
            let is_inside = entered.is_ok();
            if report.send(entered).is_ok() && is_inside {
                inbox.iter().for_each(|job| job());
            }
        })?;
        made.recv().map_err(|_| io::Error::other("the namespace's thread ended"))??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Does something inside: sockets it makes and processes it starts belong to this namespace.
    ///
    /// A process started here ends with this namespace if it asks for `PR_SET_PDEATHSIG`, because the thread that is
    /// its parent does.
    ///
    /// # Panics
    /// When `job` does.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, result) = mpsc::sync_channel(1);
        let jobs = self.jobs.as_ref().expect("present until the drop");
        let job = Box::new(move || {
            let _ = reply.send(job());
        });
        jobs.send(job).expect("the thread lives until the drop");
        result.recv().expect("the job does not panic")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // The loopback device is there from the beginning, with index 1, and down.
    Netlink::open()?.set_up(LOOPBACK, None)
}

const LOOPBACK: u32 = 1;
