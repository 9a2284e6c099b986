// One slow delivery: what happened to it on both hops.

const STEPS = {
  held_by_window: ["waited for room in the congestion window", "tick"], held_by_pacing: ["waited for its turn at the pacing rate", "tick"],
  held_by_peer: ["waited for room at the receiver", "tick"], sent: ["left for the first time", "dot"], fast_retransmitted: ["sent again after three later acks", "up"], retransmitted: ["sent again", "up"],
  copied: ["copied ahead of loss", "diamond"], probed: ["probed for the tail", "diamond"], lost: ["counted as lost", "cross"],
  timeout: ["timer went off", "square"], spurious: ["had arrived after all", "tick"], received: ["whole at the receiver", "dot"],
  held_back: ["waited for what comes before it", "tick"], released: ["passed on in order", "down"], acked: ["acknowledged", "tick"],
};
const WHY = {
  packet_threshold: "three later packets were acknowledged", time_threshold: "a later packet was acknowledged, and it was older than a round trip and an eighth",
  timeout: "the retransmission timer went off", damaged: "it came damaged", rebind: "its carrier was replaced",
};
const LEAVES = new Set(["sent", "fast_retransmitted", "retransmitted", "copied", "probed"]);

const AT_RECEIVER = new Set(["received", "held_back", "released"]);

/** A step in words. */
const tell = ([, , what, packet, why, length]) => [
  STEPS[what][0], packet === null ? "" : `, packet ${packet}`, why === null ? "" : ` (${what === "lost" ? "" : "lost because "}${WHY[why]})`, length === null ? "" : `, for ${micros(length)}`,
].join("");

const sameRun = (exemplar, run) => exemplar.c === run.c && exemplar.a === run.a && (run.r === null || exemplar.r === run.r);

/** The kept message whose rank is nearest to `q`, of this run if it has any. */
function openNearest(run, q) {
  const distance = (exemplar) => Math.abs(nines(Math.min(exemplar.rank, 1)) - nines(q));
  const ours = DATA.exemplars.filter((exemplar) => sameRun(exemplar, run));
  const nearest = (ours.length ? ours : DATA.exemplars).reduce((best, one) => (best && distance(best) <= distance(one) ? best : one), null);
  if (nearest) openMessage(DATA.exemplars.indexOf(nearest), true);
}

function openMessage(index, isAsked) {
  const exemplar = DATA.exemplars[index];
  const host = document.getElementById("timeline");
  const end = Math.max(exemplar.del ?? 0, exemplar.ack ?? 0, ...exemplar.steps.map(([at, , , , , length]) => at + (length ?? 0)), 1);
  const state = { low: 0, high: end };
  const heading = node("h3", { tabindex: "-1" }, `Message ${exemplar.m} of ${exemplar.w}: client ${exemplar.from} to client ${exemplar.to}`);
  const where = runName({ c: exemplar.c, r: exemplar.r, a: exemplar.a });
  const share = Math.min(exemplar.rank * 100, 100);
  const fact = exemplar.del === null ? "never arrived" : `arrived ${micros(exemplar.del)} after it was intended, later than ${significant(share)} % of its workload`;
  const place = node("div", { class: "panel" });
  const reset = node("button", { type: "button", on: { click: () => zoom(0, end) } }, "Show all of it");
  host.replaceChildren(heading, node("p", {}, `${where}. It ${fact}; ${exemplar.size.toLocaleString("en-US")} bytes, intended at ${significant(exemplar.at / 1e6)} s. Grey lines: when it was intended, handed over, acknowledged to its sender, delivered.`), place, reset, story(exemplar));
  host.hidden = false;
  for (const row of document.querySelectorAll("tr[data-exemplar]")) row.classList.toggle("chosen", row.dataset.exemplar === String(index));
  const zoom = (low, high) => {
    [state.low, state.high] = high - low >= end ? [0, end] : [Math.max(0, low), Math.min(end, high)];
    reset.disabled = state.low === 0 && state.high === end;
    chart.draw();
  };
  const lane = (hop, isFar) => 3 - hop - (isFar ? 1 : 0);
  const flights = journeys(exemplar.steps).map(({ from, until, hop, isLost }) => ({
    color: isLost ? 1 : hop ? 2 : 0, dash: isLost ? "3 3" : undefined,
    points: [[from, lane(hop, false)], [isLost ? from + (until - from) / 2 : until, isLost ? lane(hop, false) - 0.5 : lane(hop, true)]],
  }));
  const level = (hop, what) => lane(hop, AT_RECEIVER.has(what));
  const waits = exemplar.steps.filter(([, , , , , length]) => length !== null)
    .map(([at, hop, what, , , length]) => ({ color: 4, wide: true, points: [[at, level(hop, what)], [at + length, level(hop, what)]] }));
  const points = exemplar.steps.map((step) => {
    const [at, hop, what, , , length] = step;
    const isTrouble = what === "lost" || what === "timeout";
    const color = isTrouble ? 1 : length !== null ? 4 : hop ? 2 : 0;
    // Above the line, where what leaves in the same moment does not hide it.
    return { x: at, y: level(hop, what) + (isTrouble ? 0.2 : 0), color, form: STEPS[what][1], name: `${micros(at)}: ${tell(step)}` };
  });
  const ends = [["intended", 0], ["handed over", exemplar.sub], ["acknowledged", exemplar.ack], ["delivered", exemplar.del]];
  const bands = ends.filter(([, at]) => at !== null).map(([name, at]) => ({ from: at, until: at + (state.high - state.low) / 400, kind: "moment", name }));
  const chart = plot(place, () => ({
    title: "Upwards: sender to server (blue). Downwards: server to recipient (green). Red: lost, or a timer that went off. Thick: waiting",
    height: 230, bands, points,
    series: [...waits, ...flights, { color: 6, points: [[0, 3.3], [0, 0.7]] }],
    x: { low: state.low, high: state.high + (state.high - state.low) * 0.02, unit: micros, label: "since it was intended" },
    y: { unit: (at) => ({ 1: "recipient", 2: "server", 3: "sender" })[at] ?? "", zero: false },
  }), { brush: zoom, reset: () => zoom(0, end), hover: (at) => chart.cursor(at) });
  zoom(0, end);
  if (isAsked) {
    heading.focus({ preventScroll: true });
    host.scrollIntoView({ block: "nearest" });
  }
}

/** Each transmission with what became of it: its arrival, the verdict that it was lost, or nothing. */
function journeys(steps) {
  const arrivals = steps.filter(([, , what]) => what === "received").map(([at, hop]) => [at, hop, steps.filter(([from, other, what]) => from <= at && other === hop && LEAVES.has(what)).at(-1)?.[0] ?? at]);
  // How long a transmission takes that arrives; one that does not is drawn half of the way.
  const typical = (hop) => Math.min(...arrivals.filter(([, other]) => other === hop).map(([at, , from]) => at - from), ...(arrivals.length ? arrivals.map(([at, , from]) => Math.max(at - from, 1)) : [steps.at(-1)[0] / 50]));
  return steps.filter(([, , what]) => LEAVES.has(what)).map(([from, hop, , packet]) => {
    const later = steps.filter(([at, other, , number]) => at >= from && other === hop && (number === packet || number === null || packet === null));
    const told = (wanted) => packet !== null && later.some(([, , what, number]) => what === wanted && number === packet);
    const lost = later.find(([, , what, number]) => what === "lost" && number === packet);
    const received = later.find(([, , what]) => what === "received");
    const next = steps.find(([at, other, what]) => at > from && other === hop && LEAVES.has(what));
    if (told("acked") || told("spurious")) return { from, until: received ? received[0] : from + typical(hop), hop, isLost: false };
    if (lost) return { from, until: from + typical(hop), hop, isLost: true };
    // Without a number to go by, it was the last one before it arrived.
    if (received && !(next && next[0] < received[0])) return { from, until: received[0], hop, isLost: false };
    return next ? { from, until: from + typical(hop), hop, isLost: true } : null;
  }).filter((flight) => flight !== null);
}

/** The same as words, for those who cannot see the plot. */
function story(exemplar) {
  const moments = [[0, "intended"], [exemplar.sub, "handed to the protocol"], [exemplar.ack, "acknowledged to the sender"], [exemplar.del, "delivered"]]
    .filter(([at]) => at !== null).map(([at, text]) => [at, text]);
  const steps = exemplar.steps.map((step) => [step[0], `${step[1] ? "server to recipient" : "sender to server"}: ${tell(step)}`]);
  const all = [...moments, ...steps].sort((a, b) => a[0] - b[0]);
  const details = node("details", {}, node("summary", {}, `${all.length} steps in words`), node("ol", {}, ...all.map(([at, text]) => node("li", {}, `${micros(at)}: ${text}`))));
  return details;
}

function slowest() {
  for (const row of document.querySelectorAll("tr[data-exemplar]")) {
    const index = Number(row.dataset.exemplar);
    if (!DATA.exemplars[index]) continue;
    const cell = row.cells[row.cells.length - 1];
    cell.append(node("button", { type: "button", "aria-label": `Timeline of message ${DATA.exemplars[index].m}`, on: { click: () => openMessage(index, true) } }, "timeline"));
    row.addEventListener("click", (event) => event.target.closest("button") || openMessage(index, false));
  }
}
