// Latency by percentile of one or two runs, and what any percentile is.

/** Position of a quantile: each step to the right is ten times rarer. */
const nines = (q) => -Math.log10(Math.max(1 - q, 1e-9));
const fromNines = (at) => 1 - 10 ** -at;
const DASH = { delivery: [undefined, "6 4"], service: ["2 3", "1 5"] };
const LEVELS = [0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];

/** `99.9` of 0.999, without the digits that binary adds. */
const percentText = (q) => String(Number((q * 100).toFixed(6)));

/** The latency at `q`: by linear interpolation between grid points; `null` is lost, `undefined` nothing is known. */
function latencyAt(run, q) {
  if (!run.n) return undefined;
  const grid = DATA.grid;
  const at = nines(Math.min(q, 1));
  const place = at / grid.step;
  const below = Math.min(Math.floor(place + 1e-9), run.q.length - 1);
  const [low, high] = [run.q[below], run.q[Math.min(below + 1, run.q.length - 1)]];
  if (q >= 1 || below + 1 >= run.q.length) return run.lost ? null : run.max;
  // A rank between two that are known takes the upper one, as a nearest rank would.
  return place - below < 1e-6 ? low : high;
}

/** Value and 95 % interval; stated where the run states it, otherwise by ranks with the design effect between those. */
function estimate(run, q) {
  const stated = run.e.find(([level]) => Math.abs(level - q) < 1e-9);
  const isFirm = q >= 1 || run.n * (1 - q) >= 10 - 1e-6;
  if (stated) return { value: stated[1], low: stated[2], high: stated[3], isFirm: stated[4] };
  const value = latencyAt(run, q);
  if (!run.e.length || value === undefined || q >= 1) return { value, isFirm };
  const after = run.e.findIndex(([level]) => level > q);
  const [one, two] = after < 0 ? [run.e.at(-1), run.e.at(-1)] : [run.e[Math.max(after - 1, 0)], run.e[after]];
  const share = one === two ? 0 : (nines(q) - nines(one[0])) / (nines(two[0]) - nines(one[0]));
  const effect = Math.max(1, one[5] + (two[5] - one[5]) * Math.min(Math.max(share, 0), 1));
  // The normal law is no guide where only a few independent samples are beyond.
  if ((run.n / effect) * Math.min(q, 1 - q) < 10) return { value, isFirm };
  const spread = 1.96 * Math.sqrt((q * (1 - q) * effect) / run.n);
  return { value, low: latencyAt(run, Math.max(q - spread, 0)), high: q + spread < 1 ? latencyAt(run, q + spread) : null, isFirm };
}

function describe(run, q) {
  const { value, low, high, isFirm } = estimate(run, q);
  const interval = q >= 1 ? "the slowest" : low === undefined ? "no interval: too few samples" : `95 % interval ${told(low, "us")} to ${high === null ? "lost" : told(high, "us")}`;
  const few = isFirm ? "" : `; fewer than the ${significant(10 / (1 - q))} deliveries that this percentile needs`;
  const messages = run.m ? ` of ${run.m.toLocaleString("en-US")} messages` : "";
  return `p${percentText(q)} = ${told(value, "us")} (${interval}; ${run.n.toLocaleString("en-US")} deliveries${messages}${few})`;
}

function percentiles() {
  const first = DATA.runs.findIndex((run) => run.n > 0);
  if (first < 0) return;
  const host = reveal("percentile");
  const state = { a: first, b: "", q: 0.99, hidden: new Set() };
  const runs = () => [state.a, state.b].filter((index) => index !== "").map((index) => DATA.runs[index]);
  const answer = node("output", { class: "readout", id: "percentile-answer", "aria-live": "polite" });
  const field = node("input", { type: "text", inputmode: "decimal", size: "7", value: "99", id: "percentile-input", on: { input: () => typed() } });
  const names = node("div", { class: "legend" });
  const place = node("div", { class: "panel" });
  const show = node("button", { type: "button", on: { click: () => openNearest(runs()[0], state.q) } }, "Show a message near it");
  const pick = (key) => (value) => {
    state[key] = value === "" ? "" : Number(value);
    refresh();
  };
  host.append(
    node("div", { class: "controls" },
      choice("run A", runChoices((run) => run.n > 0, false), state.a, pick("a")),
      choice("run B (dashed)", runChoices((run) => run.n > 0, true), state.b, pick("b")),
      node("label", { class: "choice" }, node("span", {}, "percentile"), field), show),
    answer, names, place);

  const typed = () => {
    const q = Number(field.value.replace(",", ".").replace(/^p|%$/g, "")) / 100;
    if (!(q >= 0 && q <= 1) || field.value.trim() === "") {
      answer.textContent = "Type a percentile between 0 and 100, such as 99.9.";
      return;
    }
    state.q = q;
    tell();
    chart.cursor(Math.min(nines(q), end()));
  };
  const tell = () => {
    answer.textContent = runs().map((run, index) => `${runs().length > 1 ? `${"AB"[index]}: ` : ""}${describe(run, state.q)}`).join("\n");
    show.hidden = !DATA.exemplars.length;
  };
  const end = () => Math.min(Math.max(...runs().map((run) => Math.log10(Math.max(run.n, 10)))) + 0.1, (Math.max(...runs().map((run) => run.q.length)) - 1) * DATA.grid.step + 0.1);
  const points = (values, n) => values.map((value, index) => [index * DATA.grid.step, value]).filter(([at]) => at <= Math.log10(Math.max(n, 1)) + DATA.grid.step);
  /** Where each run's ranks begin to fall among those that never arrived. */
  const lostFrom = () => runs().filter((run) => run.lost).map((run) => nines((run.n - run.lost) / run.n));
  const spec = () => ({
    title: `Latency by percentile: each step to the right is ten times rarer${lostFrom().length ? "; red: never arrived" : ""}`,
    height: 330,
    bands: lostFrom().map((from) => ({ from, until: end(), kind: "weather", name: "never arrived" })),
    x: { low: 0, high: end(), ticks: LEVELS.map((q) => [nines(q), `${percentText(q)} %`]), unit: String, label: "share of deliveries that were at least as fast" },
    y: { scale: logarithmic, unit: micros },
    series: runs().flatMap((run, index) => [["delivery", run.q, 0], ["service", run.s, 1]].map(([name, values, color]) => ({ name, values, color, run, dash: DASH[name][index] })))
      .filter(({ name, values }) => values && !state.hidden.has(name))
      .map(({ values, color, dash, run }) => ({ color, dash, points: points(values, run.n) })),
    points: runs().flatMap((run, index) => DATA.exemplars.filter((exemplar) => sameRun(exemplar, run) && exemplar.del !== null && exemplar.rank < 1)
      .map((exemplar) => ({ x: Math.min(nines(exemplar.rank), end()), y: exemplar.del, color: index ? 2 : 3, form: "diamond", name: `message ${exemplar.m}: click to see it` }))),
  });
  const chart = plot(place, spec, {
    hover: (at) => {
      if (at === null) return;
      state.q = at >= end() - 0.02 ? 1 : Number(fromNines(at).toPrecision(Math.ceil(at) + 2));
      field.value = percentText(state.q);
      tell();
      chart.cursor(at);
    },
    pick: (at) => openNearest(runs()[0], fromNines(at)),
  });
  const refresh = () => {
    const entries = [{ name: "delivery", color: 0 }, { name: "service", color: 1, dash: DASH.service[0] }].filter(({ name }) => name === "delivery" || runs().some((run) => run.s));
    legend(names, entries, state.hidden, () => chart.draw());
    chart.draw();
    typed();
  };
  refresh();
}
