// Packets of the traced connection over time: what one looks up once a figure has shown when something happened.

const EVENTS = {
  metrics: ["acknowledged", 0, "dot"], lost: ["declared lost", 1, "cross"], retransmit: ["sent again", 2, "up"], fast_retransmit: ["sent again after three later acks", 3, "up"],
  probe: ["tail probe", 4, "diamond"], timeout: ["timer went off", 1, "square"], spurious: ["had arrived after all", 5, "down"], rebind: ["new carrier", 5, "tick"],
};

function sequence() {
  const trace = DATA.sequence;
  if (!trace) return;
  const host = reveal("time-sequence");
  const end = trace.packets.at(-1)[0];
  const begin = trace.packets[0][0];
  const state = { low: begin, high: end, hidden: new Set() };
  const readout = node("p", { class: "readout", "aria-live": "polite" });
  const names = node("div", { class: "legend" });
  const place = node("div", { class: "panel" });
  const reset = node("button", { type: "button", on: { click: () => zoom(begin, end) } }, "Show the whole trace");
  host.append(node("div", { class: "controls" }, reset), names, readout, place);
  const zoom = (low, high) => {
    [state.low, state.high] = high - low >= end - begin ? [begin, end] : [Math.max(begin, low), Math.min(end, high)];
    reset.disabled = state.low === begin && state.high === end;
    chart.draw();
  };
  const seen = trace.packets.filter(([at]) => at >= 0);
  const visible = () => seen.filter(([at, , event]) => at >= state.low && at <= state.high && !state.hidden.has(EVENTS[event][0]));
  const spec = () => ({
    title: `Packet numbers of client ${trace.client}, told by the ${trace.side}${trace.is_thinned ? "; acknowledgements are thinned" : ""}${trace.cut_s === null ? "" : `; only up to ${significant(trace.cut_s)} s`}`,
    height: 360,
    series: [],
    points: visible().map(([x, y, event]) => ({ x, y, color: EVENTS[event][1], form: EVENTS[event][2] })),
    x: { low: state.low, high: Math.max(state.high, state.low + 1), unit: (at) => `${significant(at / 1e6)} s` },
    y: { unit: (value) => (Number.isInteger(value) ? value.toLocaleString("en-US") : ""), zero: false },
  });
  const hover = (at) => {
    chart.cursor(at);
    const near = at === null ? null : visible().reduce((best, one) => (best && Math.abs(best[0] - at) <= Math.abs(one[0] - at) ? best : one), null);
    readout.textContent = near ? `${significant(near[0] / 1e6)} s: packet ${near[1].toLocaleString("en-US")} ${EVENTS[near[2]][0]}, ${bytes(near[3])} in flight` : "Drag over a span to look closer, double-click to see all.";
  };
  const chart = plot(place, spec, { hover, brush: zoom, reset: () => zoom(begin, end) });
  const used = new Map(seen.map(([, , event]) => EVENTS[event]).map(([name, color]) => [name, color]));
  legend(names, [...used].map(([name, color]) => ({ name, color })), state.hidden, () => chart.draw());
  zoom(begin, end);
  hover(null);
}
