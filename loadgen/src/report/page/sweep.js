// The sweep explorer: any metric over any axis, with another axis as lines and a third as small plots.

function sweep() {
  const axes = DATA.axes.filter((axis) => axis.values.length > 1);
  if (!axes.length) return;
  const host = reveal("sweep-explorer");
  const others = (...taken) => [["", "none"], ...axes.map((axis, index) => [index, axis.name]).filter(([index]) => !taken.includes(String(index)))];
  const state = { metric: String(Math.max(0, DATA.metrics.findIndex(({ id }) => id === "p99"))), x: "0", lines: axes.length > 1 ? "1" : "", plots: axes.length > 2 ? "2" : "", fixed: {} };
  const controls = node("div", { class: "controls" });
  const plots = node("div", { class: "multiples" });
  const names = node("div", { class: "legend" });
  const table = node("div", { class: "scroll" });
  const hidden = new Set();
  host.append(controls, names, plots, table);

  const axis = (key) => (state[key] === "" ? null : axes[Number(state[key])]);
  const free = () => axes.filter((_, index) => ![state.x, state.lines, state.plots].includes(String(index)));
  /** Values of a metric of all repeats where the axes have these values. */
  const find = (wanted) => {
    const runs = DATA.runs.filter((run) => run.r !== null && axes.every((one) => !(one.path in wanted) || valueOf(run, one) === wanted[one.path]));
    // Below zero: not measured, which is neither a value nor lost.
    const value = (run) => (run.v[Number(state.metric)] === -1 ? undefined : run.v[Number(state.metric)]);
    return { values: runs.map(value), invalid: runs.some((run) => run.invalid) };
  };
  const cell = (wanted) => {
    const { values, invalid } = find({ ...Object.fromEntries(free().map((one) => [one.path, state.fixed[one.path] ?? one.values[0]])), ...wanted });
    const isTime = DATA.metrics[Number(state.metric)].unit === "us";
    // A percentile among the lost is above every other.
    const sorted = values.map((value) => (value === null && isTime ? Infinity : value)).filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
    if (!sorted.length) return null;
    const middle = (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
    return { middle, low: sorted[0], high: sorted.at(-1), n: sorted.length, invalid };
  };
  const wantedOf = (pairs) => Object.fromEntries(pairs.filter(([one]) => one).map(([one, value]) => [one.path, value]));

  const draw = () => {
    const [x, lines, multiples] = ["x", "lines", "plots"].map(axis);
    const metric = DATA.metrics[Number(state.metric)];
    const numbers = x.numbers;
    const positions = numbers ?? x.values.map((_, index) => index);
    const isLog = numbers && Math.min(...numbers) > 0 && Math.max(...numbers) / Math.min(...numbers) >= 50;
    const entries = (lines ? lines.values : ["all"]).map((value, color) => ({ name: value, color: color % 7, dash: DASHES[color % DASHES.length] }));
    legend(names, lines ? entries : [], hidden, draw);
    plots.replaceChildren();
    for (const value of multiples ? multiples.values : [null]) {
      const series = entries.filter(({ name }) => !hidden.has(name)).map(({ name, color, dash }) => ({
        color, dash, dots: true,
        points: x.values.map((at, index) => {
          const found = cell(wantedOf([[x, at], [lines, name], [multiples, value]]));
          if (!found || !Number.isFinite(found.middle)) return [positions[index], null];
          return [positions[index], found.middle, found.low, Number.isFinite(found.high) ? found.high : found.middle];
        }).sort((a, b) => a[0] - b[0]),
      }));
      const place = node("div", { class: "panel" });
      plots.append(place);
      const [low, high] = [Math.min(...positions), Math.max(...positions)];
      const air = (high - low || 1) * 0.05;
      const log = metric.unit === "us" && series.some((one) => one.points.some((point) => point[1] > 0));
      plot(place, () => ({
        title: `${metric.name}${value === null ? "" : ` · ${multiples.name} = ${value}`}`,
        height: multiples ? 220 : 300,
        series,
        x: { low: isLog ? low / 1.2 : low - air, high: isLog ? high * 1.2 : high + air, scale: isLog ? logarithmic : linear, ticks: positions.map((at, index) => [at, x.values[index]]).sort((a, b) => a[0] - b[0]), unit: String, label: x.name },
        y: { scale: log ? logarithmic : linear, unit: UNITS[metric.unit], zero: !log },
      }), {});
    }
    fill(x, lines, multiples, metric);
  };

  const fill = (x, lines, multiples, metric) => {
    const text = (found) => {
      if (!found) return "–";
      const show = (value) => told(Number.isFinite(value) ? value : null, metric.unit);
      const spread = found.n > 1 ? ` (${show(found.low)} – ${show(found.high)}; n=${found.n})` : "";
      return `${show(found.middle)}${spread}${found.invalid ? " INVALID" : ""}`;
    };
    const columns = lines ? lines.values : ["median of repeats (range)"];
    const head = [...(multiples ? [multiples.name] : []), x.name, ...columns.map((value) => (lines ? `${lines.name} = ${value}` : value))];
    const body = (multiples ? multiples.values : [null]).flatMap((value) => x.values.map((at) =>
      [...(value === null ? [] : [value]), at, ...columns.map((name) => text(cell(wantedOf([[x, at], [lines, name], [multiples, value]]))))]));
    const labels = head.length - columns.length;
    const cells = (tag) => (values) => node("tr", {}, ...values.map((value, index) => node(tag, { class: index < labels ? null : "number" }, value)));
    const made = node("table", {}, node("caption", {}, `${metric.name}: median of repeats, and their range`), node("thead", {}, cells("th")(head)), node("tbody", {}, ...body.map(cells("td"))));
    table.replaceChildren(made);
    sortable(made);
  };

  const build = () => {
    const pick = (key) => (value) => {
      // An axis is used once: who takes it from another role leaves that one without.
      for (const role of ["x", "lines", "plots"]) {
        if (role !== key && state[role] === value && value !== "") state[role] = role === "x" ? state[key] || "0" : "";
      }
      state[key] = value;
      hidden.clear();
      build();
    };
    controls.replaceChildren(
      choice("metric", DATA.metrics.map(({ name }, index) => [index, name]), state.metric, pick("metric")),
      choice("across", axes.map((one, index) => [index, one.name]), state.x, pick("x")),
      ...(axes.length > 1 ? [choice("lines", others(state.x), state.lines, pick("lines"))] : []),
      ...(axes.length > 2 ? [choice("small plots", others(state.x, state.lines), state.plots, pick("plots"))] : []),
      ...free().map((one) => choice(one.name, one.values.map((value) => [value, value]), state.fixed[one.path] ?? one.values[0], (value) => {
        state.fixed[one.path] = value;
        draw();
      })));
    draw();
  };
  build();
}

const DASHES = [undefined, "6 3", "2 3", "8 3 2 3"];

function valueOf(run, axis) {
  return axis.path === "arm" ? DATA.arms[run.a] : DATA.cells[run.c].axes[axis.path];
}
