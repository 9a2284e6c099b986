//! The thread of a proxy: it owns the sockets and the links, waits, and moves bytes between them.
//!
//! One thread, so that a packet goes from socket to link to socket without a lock, a queue or another thread's turn.
//! What differs between shells is a [`Shell`]; what they have in common is [`Core`]. Orders come through a channel, with
//! a wake.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::mpsc;

use units::{Clock, Seed, Timestamp};

use super::parcel::Parcel;
use super::tally::Tally;
use super::{ProxyConfig, ProxySnapshot, Scope};
use crate::link::Delivery;
use crate::pacer::{Board, Carrier, Direction, FlowOpened, LinkId, Observer, Opening};
use crate::profile::LinkProfile;
use crate::timing::{Ready, Waiter, Waker};

/// What moves the bytes of one kind of proxy.
pub(super) trait Shell {
    /// Reads what is there and offers it to the links.
    fn on_ready(&mut self, core: &mut Core, ready: Ready);

    /// Takes what a link lets out, to be written at the next [`flush`](Self::flush).
    fn on_delivery(&mut self, core: &mut Core, delivery: Delivery<Parcel>);

    fn flush(&mut self, core: &mut Core);

    /// Goes on with what waited for room; called once a turn.
    fn resume(&mut self, core: &mut Core);

    fn poll_timeout(&self) -> Option<Timestamp>;

    fn on_timeout(&mut self, core: &mut Core, now: Timestamp);

    /// The upstream addresses of a link's flows change, or of all flows, as behind a NAT that has forgotten them.
    fn rebind(&mut self, core: &mut Core, link: Option<LinkId>);

    /// What the kernel dropped at sockets that are open now.
    fn kernel_drops(&self) -> u64;
}

/// What all proxies have.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) clock: Clock,
    pub(super) waiter: Waiter,
    pub(super) board: Board<Parcel>,
    pub(super) tally: Tally,
    pub(super) upstream: SocketAddr,
    seed: Seed,
    origin: Timestamp,
    up: LinkProfile,
    down: LinkProfile,
    /// The two links of all flows, under [`Scope::Shared`].
    common: Option<FlowLinks>,
}

/// The links of one flow, and its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowLinks {
    pub(super) number: u64,
    pub(super) up: LinkId,
    pub(super) down: LinkId,
}

impl Core {
    pub(super) fn new(
        config: &ProxyConfig,
        waiter: Waiter,
        observer: Option<Box<dyn Observer<Parcel>>>,
    ) -> Self {
        let ProxyConfig { clock, seed, upstream, up, down, .. } = config.clone();
        let (origin, board, tally) = (clock.now(), Board::new(observer), Tally::default());
        let mut core = Self { clock, waiter, board, tally, upstream, seed, origin, up, down, common: None };
        if config.scope == Scope::Shared {
            core.common = Some(core.open_links(0, "shared"));
        }
        core
    }

    pub(super) fn open_flow(&mut self, carrier: Carrier, client: SocketAddr) -> FlowLinks {
        let number = self.tally.flows;
        self.tally.flows += 1;
        self.board.note_flow(&FlowOpened { number, carrier, client, upstream: self.upstream });
        match self.common {
            Some(common) => FlowLinks { number, ..common },
            None => self.open_links(number, &format!("flow/{number}")),
        }
    }

    /// Lets the flow's links deliver what is under way.
    pub(super) fn close_flow(&mut self, links: FlowLinks) {
        self.tally.flows_closed += 1;
        if self.common.is_none() {
            self.board.close(links.up);
            self.board.close(links.down);
        }
    }

    fn open_links(&mut self, number: u64, name: &str) -> FlowLinks {
        let seed = self.seed.fork(name);
        let (board, origin, now) = (&mut self.board, self.origin, self.clock.now());
        let mut open = |direction, profile, end| {
            let name = &format!("{name}/{end}");
            board.open(Opening { direction, name, profile, seed: seed.fork(end), origin, now })
        };
        let (up, down) = (open(Direction::Up, &self.up, "up"), open(Direction::Down, &self.down, "down"));
        FlowLinks { number, up, down }
    }

    fn configure(&mut self, direction: Direction, profile: LinkProfile) {
        self.board.configure(self.clock.now(), direction, &profile);
        match direction {
            Direction::Up => self.up = profile,
            Direction::Down => self.down = profile,
        }
    }
}

/// What a proxy can be told while it runs.
#[derive(Debug)]
enum Order {
    Configure { up: Option<Box<LinkProfile>>, down: Option<Box<LinkProfile>> },
    Report { reply: mpsc::SyncSender<ProxySnapshot> },
    Rebind,
    Stop,
}

/// Gives orders to a driver. After its thread has ended they are silently ignored.
#[derive(Debug)]
pub(super) struct Control {
    orders: mpsc::Sender<Order>,
    waker: Waker,
}

impl Control {
    pub(super) fn configure(&self, up: Option<LinkProfile>, down: Option<LinkProfile>) {
        self.order(Order::Configure { up: up.map(Box::new), down: down.map(Box::new) });
    }

    /// Waits for the thread, which takes well under a millisecond; `None` if it ended.
    pub(super) fn report(&self) -> Option<ProxySnapshot> {
        let (reply, report) = mpsc::sync_channel(1);
        self.order(Order::Report { reply });
        report.recv().ok()
    }

    pub(super) fn rebind(&self) {
        self.order(Order::Rebind);
    }

    pub(super) fn stop(&self) {
        self.order(Order::Stop);
    }

    fn order(&self, order: Order) {
        // Fails only after the thread has ended, when there is nobody left to tell.
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

/// A driver that has not begun: whatever can fail has been done.
pub(super) struct Starter {
    config: ProxyConfig,
    waiter: Waiter,
    orders: mpsc::Receiver<Order>,
    observer: Option<Box<dyn Observer<Parcel>>>,
}

/// Makes a driver and its control.
pub(super) fn prepare(
    config: &ProxyConfig,
    waiter: Waiter,
    observer: Option<Box<dyn Observer<Parcel>>>,
) -> (Starter, Control) {
    let (sender, orders) = mpsc::channel();
    let control = Control { orders: sender, waker: waiter.waker() };
    (Starter { config: config.clone(), waiter, orders, observer }, control)
}

impl Starter {
    /// Runs in the calling thread until it is told to stop; returns the last counts.
    pub(super) fn run<S: Shell>(self, shell: impl FnOnce(&mut Core) -> S) -> ProxySnapshot {
        let mut core = Core::new(&self.config, self.waiter, self.observer);
        let shell = shell(&mut core);
        Driver { core, shell, orders: self.orders }.run()
    }
}

struct Driver<S> {
    core: Core,
    shell: S,
    orders: mpsc::Receiver<Order>,
}

impl<S: Shell> Driver<S> {
    fn run(mut self) -> ProxySnapshot {
        let mut events = Vec::new();
        loop {
            // 1. Wait for input, an order or a deadline.
            let deadline = earliest(self.core.board.poll_timeout(), self.shell.poll_timeout());
            if let Err(error) = self.core.waiter.wait(deadline, &mut events) {
                tracing::error!(%error, "cannot wait any more; the proxy stops");
                break;
            }
            // 2. Orders first: a change that was made before a packet was sent is in force when it arrives.
            if self.obey().is_break() {
                break;
            }
            // 3. Feed the inputs; what is due meanwhile does not wait for the rest of them.
            for ready in events.drain(..) {
                self.shell.on_ready(&mut self.core, ready);
                self.deliver();
            }
            // 4. Act on the outputs.
            self.deliver();
            self.shell.resume(&mut self.core);
            // 5. The board and the shell know the next deadline.
            let now = self.core.clock.now();
            if self.shell.poll_timeout().is_some_and(|at| at <= now) {
                self.shell.on_timeout(&mut self.core, now);
            }
        }
        let now = self.core.clock.now();
        self.core.board.discard(now);
        self.snapshot()
    }

    /// Lets out what is due, up to a bound so that sockets are read even when more becomes due all the time.
    fn deliver(&mut self) {
        let mut budget = DELIVERIES_AT_ONCE;
        while budget > 0 && self.core.board.poll_timeout().is_some() {
            let now = self.core.clock.now();
            let before = budget;
            while budget > 0
                && let Some(delivery) = self.core.board.poll_deliver(now)
            {
                if let Some(link) = self.core.board.poll_rebind() {
                    // What left before it leaves from the old address.
                    self.shell.flush(&mut self.core);
                    self.shell.rebind(&mut self.core, Some(link));
                }
                self.shell.on_delivery(&mut self.core, delivery);
                budget -= 1;
            }
            if budget == before {
                return;
            }
            self.shell.flush(&mut self.core);
        }
    }

    fn obey(&mut self) -> ControlFlow<()> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Configure { up, down } => {
                    up.into_iter().for_each(|profile| self.core.configure(Direction::Up, *profile));
                    down.into_iter().for_each(|profile| self.core.configure(Direction::Down, *profile));
                }
                Order::Report { reply } => {
                    // Whoever asked may have given up waiting.
                    let _ = reply.try_send(self.snapshot());
                }
                Order::Rebind => self.shell.rebind(&mut self.core, None),
                Order::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn snapshot(&self) -> ProxySnapshot {
        let Core { board, tally, waiter, .. } = &self.core;
        let report = board.report();
        ProxySnapshot {
            flows: tally.flows,
            flows_open: tally.flows - tally.flows_closed,
            up: report.up.counters,
            down: report.down.counters,
            up_delays: report.up.delays,
            down_delays: report.down.delays,
            lateness: report.lateness.histogram().clone(),
            early: report.lateness.early(),
            timing: waiter.stats(),
            io_overrun: tally.io_overrun,
            kernel_drops: tally.kernel_drops + self.shell.kernel_drops(),
            malformed: tally.malformed,
            refused: tally.refused,
            undeliverable: tally.undeliverable,
            back_pressure: tally.back_pressure,
            rebinds: tally.rebinds,
        }
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

/// Deliveries between two looks at the sockets: at about 1 µs each, a quarter of a millisecond.
const DELIVERIES_AT_ONCE: usize = 256;
