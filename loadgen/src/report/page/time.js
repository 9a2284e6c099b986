// The run over time: plots above each other that share their time axis, cursor and zoom.

const PANELS = [
  { title: "Delivery latency, by intended time", unit: "us", log: true, series: [["p50", "p50_us"], ["p99", "p99_us"], ["slowest", "max_us"]] },
  { title: "Messages", unit: "per_s", rate: true, series: [["intended", "intended"], ["sent", "sent"], ["deliveries", "delivered"]] },
  { title: "Bytes: heard by applications, and on the emulated links", unit: "bytes_per_s", rate: true, series: [["goodput", "delivered_bytes"], ["links up", "up_bytes"], ["links down", "down_bytes"]] },
  { title: "Lost pairs and repeats", unit: "per_s", rate: true, series: [["lost pairs", "lost"], ["retransmits", "retransmits"], ["throttled", "throttled"], ["failed", "failed"]] },
  { title: "Connected clients and messages on their way", unit: "count", series: [["connected", "connected"], ["on their way", "under_way"]] },
  { title: "Health of the generator", unit: "us", log: true, series: [["schedule lag p99", "lag_p99_us"], ["longest pause", "hiccup_max_us"]] },
];

function overTime() {
  const first = DATA.runs.findIndex((run) => run.t);
  if (first < 0) return;
  const host = reveal("over-time");
  const state = { a: first, b: "", low: null, high: null, hidden: new Set() };
  const runs = () => [state.a, state.b].filter((index) => index !== "").map((index) => DATA.runs[index]);
  const panels = node("div", { class: "panels" });
  const readout = node("p", { class: "readout", "aria-live": "polite" });
  const reset = node("button", { type: "button", on: { click: () => zoom(null, null) } }, "Show the whole run");
  const pick = (key) => (value) => {
    state[key] = value === "" ? "" : Number(value);
    build();
  };
  host.append(
    node("div", { class: "controls" },
      choice("run A", runChoices((run) => run.t, false), state.a, pick("a")),
      choice("run B (dashed)", runChoices((run) => run.t, true), state.b, pick("b")), reset),
    readout, panels);

  let plots = [];
  const end = () => Math.max(...runs().map((run) => run.t.w * run.t.rows));
  const zoom = (low, high) => {
    const most = end();
    [state.low, state.high] = low === null || high - low >= most ? [null, null] : [Math.max(0, low), Math.min(most, high)];
    reset.disabled = state.low === null;
    plots.forEach((one) => one.draw());
  };
  const hover = (at) => {
    plots.forEach((one) => one.cursor(at));
    readout.textContent = at === null ? HINT : read(at);
  };
  const read = (at) => runs().map((run, index) => {
    const row = Math.min(run.t.rows - 1, Math.max(0, Math.floor(at / run.t.w)));
    const shown = PANELS.flatMap((panel) => panel.series.filter(([name]) => !state.hidden.has(name)).map(([name, key]) => [panel, name, key]));
    const values = shown.filter(([, , key]) => run.t.cols[key]).map(([panel, name, key]) => {
      const value = run.t.cols[key][row];
      const rated = panel.rate && value !== null ? value / (run.t.w / 1e6) : value ?? undefined;
      return `${name} ${told(rated, panel.unit)}`;
    });
    return `${runs().length > 1 ? `${"AB"[index]}: ` : ""}${significant(row * run.t.w / 1e6)}–${significant((row + 1) * run.t.w / 1e6)} s: ${values.join(", ")}`;
  }).join(" | ");

  const spec = (panel) => () => {
    const [a] = runs();
    const series = runs().flatMap((run, index) => panel.series.map(([name, key], color) => ({ run, name, key, color, dash: index ? "5 4" : undefined })))
      .filter(({ run, name, key }) => run.t.cols[key] && !state.hidden.has(name))
      .map(({ run, key, color, dash }) => {
        const factor = panel.rate ? 1e6 / run.t.w : 1;
        return { color, dash, points: run.t.cols[key].map((value, row) => [(row + 0.5) * run.t.w, value === null || (panel.log && value === 0) ? null : value * factor]) };
      });
    const bands = a.t.phases.filter((phase) => !phase[3]).map(([name, from, until]) => ({ from, until, kind: "unrecorded", name: `${name}: not in the statistics` }))
      .concat(a.t.weather.map(([link, from, until, what]) => ({ from, until, kind: "weather", name: `${link}: ${what}` })));
    return {
      title: panel.title, series, bands,
      x: { low: state.low ?? 0, high: state.high ?? end(), unit: (at) => `${significant(at / 1e6)} s` },
      y: { scale: panel.log ? logarithmic : linear, unit: UNITS[panel.unit], zero: !panel.log },
    };
  };
  const build = () => {
    panels.replaceChildren();
    const told = (key) => runs().some((run) => run.t.cols[key]);
    const visible = PANELS.filter((panel) => panel.series.some(([, key]) => told(key)));
    plots = visible.map((panel) => {
      const place = node("div");
      const names = node("div", { class: "legend" });
      panels.append(node("div", { class: "panel" }, place, names));
      const entries = panel.series.map(([name, key], color) => ({ name, key, color })).filter(({ key }) => told(key));
      legend(names, entries, state.hidden, () => plots.forEach((one) => one.draw()));
      return plot(place, spec(panel), { hover, brush: zoom, reset: () => zoom(null, null) });
    });
    hover(null);
    zoom(null, null);
  };
  const HINT = "Point at a plot to read it, drag over a span to look closer, double-click to see all. Grey: not in the statistics. Red: what was done to the links.";
  build();
}
