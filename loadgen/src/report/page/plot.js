// One plot: axes, series, bands, a crosshair, a brush. It is drawn again whenever something changes; it is small.

const MARGIN = { left: 70, right: 14, top: 10, bottom: 34 };

/**
 * Draws into `host` and keeps it drawn while the window changes. `spec()` gives what is to be shown:
 * `{title, height, x: {low, high, scale, unit, ticks, label}, y: {scale, unit, zero}, series, bands, points}`;
 * `told` hears `hover(x)`, `pick(x)`, `brush(low, high)` and `reset()`.
 */
function plot(host, spec, on) {
  const frame = { spec: null, x: null, y: null, cursor: null };
  const svg = shape("svg", { class: "plot", tabindex: "0", role: "img" });
  const title = node("p", { class: "title", "aria-hidden": "true" });
  host.append(title, svg);

  const draw = () => {
    const now = spec();
    const width = Math.max(host.clientWidth, 260);
    const height = now.height ?? 175;
    const inner = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.setAttribute("aria-label", `${now.title}. Arrow keys move the cursor, plus and minus zoom, Escape shows all.`);
    const span = range(now);
    const x = project(now.x.scale ?? linear, now.x.low, now.x.high, inner.left, inner.right);
    const y = project(now.y.scale ?? linear, span.low, span.high, inner.bottom, inner.top);
    Object.assign(frame, { spec: now, x, y, inner });
    title.textContent = now.title;
    for (const band of now.bands ?? []) {
      const [from, until] = [Math.max(band.from, now.x.low), Math.min(band.until, now.x.high)];
      if (from >= until) continue;
      const box = shape("rect", { class: `band ${band.kind}`, x: x.to(from), y: inner.top, width: x.to(until) - x.to(from), height: inner.bottom - inner.top });
      box.append(shape("title", {}, band.name));
      svg.append(box);
    }
    axes(svg, now, inner, x, y, span);
    const clip = `clip${plot.next += 1}`;
    const area = shape("clipPath", { id: clip });
    area.append(shape("rect", { x: inner.left, y: inner.top - 3, width: inner.right - inner.left, height: inner.bottom - inner.top + 3 }));
    const data = shape("g", { "clip-path": `url(#${clip})` });
    for (const series of now.series) line(data, series, x, y, inner);
    for (const point of now.points ?? []) mark(data, point, x, y);
    svg.append(area, data);
    frame.line = shape("line", { class: "cursor", y1: inner.top, y2: inner.bottom, visibility: "hidden" });
    frame.brush = shape("rect", { class: "brush", y: inner.top, height: inner.bottom - inner.top, visibility: "hidden" });
    svg.append(frame.brush, frame.line);
    cursor(frame.cursor);
  };

  const cursor = (value) => {
    frame.cursor = value;
    const shown = value !== null && value >= frame.spec.x.low && value <= frame.spec.x.high;
    frame.line.setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) ["x1", "x2"].forEach((end) => frame.line.setAttribute(end, Math.round(frame.x.to(value))));
  };

  input(svg, frame, on);
  new ResizeObserver(draw).observe(host);
  draw();
  return { draw, cursor };
}
plot.next = 0;

/** Where a value stands on the sheet, and back. */
function project(scale, low, high, from, until) {
  const [start, end] = [scale.to(low), scale.to(high)];
  const size = end - start || 1;
  const back = (at) => start + ((at - from) / (until - from)) * size;
  return {
    to: (value) => from + ((scale.to(value) - start) / size) * (until - from),
    from: (at) => (scale === logarithmic ? 10 ** back(at) : back(at)),
  };
}

/** Lowest and highest of what is visible, with some air. */
function range(spec) {
  let [low, high] = [Infinity, -Infinity];
  const see = (x, y) => {
    if (y === null || y === undefined || x < spec.x.low || x > spec.x.high) return;
    if (spec.y.scale === logarithmic && y <= 0) return;
    [low, high] = [Math.min(low, y), Math.max(high, y)];
  };
  for (const series of spec.series) {
    series.points.forEach(([x, y, least, most]) => [y, least, most].forEach((value) => see(x, value)));
  }
  (spec.points ?? []).forEach((point) => see(point.x, point.y));
  if (low > high) [low, high] = [1, 10];
  if (spec.y.scale === logarithmic) return { low: low / 1.2, high: Math.max(high * 1.2, low * 2) };
  const air = (high - low || Math.abs(high) || 1) * 0.06;
  return { low: spec.y.zero ? Math.min(0, low) : low - air, high: high + air };
}

function axes(svg, spec, inner, x, y, span) {
  const across = spec.x.ticks ?? (spec.x.scale ?? linear).ticks(spec.x.low, spec.x.high, (inner.right - inner.left) / 90).map((tick) => [tick, spec.x.unit(tick)]);
  let last = -Infinity;
  for (const [tick, text] of across) {
    if (tick < spec.x.low || tick > spec.x.high) continue;
    const at = x.to(tick);
    svg.append(shape("line", { class: "grid", x1: at, x2: at, y1: inner.top, y2: inner.bottom }));
    const half = text.length * 3.4;
    if (at - half < last || at + half > inner.right + MARGIN.right) continue;
    svg.append(shape("text", { class: "tick", x: at, y: inner.bottom + 15, "text-anchor": "middle" }, text));
    last = at + half + 6;
  }
  for (const tick of (spec.y.scale ?? linear).ticks(span.low, span.high, (inner.bottom - inner.top) / 32)) {
    const at = y.to(tick);
    if (at < inner.top - 1 || at > inner.bottom + 1) continue;
    svg.append(shape("line", { class: "grid", x1: inner.left, x2: inner.right, y1: at, y2: at }));
    svg.append(shape("text", { class: "tick", x: inner.left - 6, y: at + 4, "text-anchor": "end" }, spec.y.unit(tick)));
  }
  svg.append(shape("line", { class: "axis", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }));
  if (spec.x.label) svg.append(shape("text", { class: "tick", x: inner.right, y: inner.bottom + 30, "text-anchor": "end" }, spec.x.label));
}

/** A line with gaps where there is no value; a third and fourth number of a point are its range. */
function line(group, series, x, y, inner) {
  let path = "";
  let open = false;
  const level = (value) => Math.max(inner.top - 2, Math.min(inner.bottom + 2, y.to(value)));
  for (const [at, value, least, most] of series.points) {
    if (value === null || value === undefined || !Number.isFinite(y.to(value))) {
      open = false;
      continue;
    }
    path += `${open ? "L" : "M"}${x.to(at).toFixed(1)} ${level(value).toFixed(1)}`;
    open = true;
    if (least !== undefined) group.append(shape("line", { class: `range c${series.color}`, x1: x.to(at), x2: x.to(at), y1: level(least), y2: level(most) }));
    if (series.dots) group.append(shape("circle", { class: `dot c${series.color}`, cx: x.to(at), cy: level(value), r: 3.5 }));
  }
  group.append(shape("path", { class: `line c${series.color}${series.wide ? " wide" : ""}`, d: path, "stroke-dasharray": series.dash ?? "none" }));
}

const MARKS = {
  cross: "M-4 -4L4 4M-4 4L4 -4", up: "M0 -5L5 4L-5 4Z", down: "M0 5L5 -4L-5 -4Z", square: "M-4 -4H4V4H-4Z",
  diamond: "M0 -5L5 0L0 5L-5 0Z", dot: "M-1.6 0A1.6 1.6 0 1 0 1.6 0A1.6 1.6 0 1 0 -1.6 0", tick: "M0 -6V6",
};

function mark(group, point, x, y) {
  const made = shape("path", { class: `mark c${point.color} ${point.form}`, d: MARKS[point.form], transform: `translate(${x.to(point.x).toFixed(1)} ${y.to(point.y).toFixed(1)})` });
  if (point.name) made.append(shape("title", {}, point.name));
  group.append(made);
}

/** Pointer, touch and keys of one plot. */
function input(svg, frame, on) {
  let start = null;
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / (box.width || 1);
    return Math.max(frame.inner.left, Math.min(frame.inner.right, (event.clientX - box.left) * scale));
  };
  svg.addEventListener("pointerdown", (event) => {
    start = at(event);
    if (on.brush) svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    const here = at(event);
    on.hover?.(frame.x.from(here));
    if (start === null || !on.brush || Math.abs(here - start) < 5) return;
    frame.brush.setAttribute("visibility", "visible");
    frame.brush.setAttribute("x", Math.min(start, here));
    frame.brush.setAttribute("width", Math.abs(here - start));
  });
  svg.addEventListener("pointerup", (event) => {
    const [from, here] = [start, at(event)];
    start = null;
    frame.brush.setAttribute("visibility", "hidden");
    if (from === null) return;
    if (Math.abs(here - from) < 5) on.pick?.(frame.x.from(here));
    else on.brush?.(frame.x.from(Math.min(from, here)), frame.x.from(Math.max(from, here)));
  });
  svg.addEventListener("pointercancel", () => {
    start = null;
    frame.brush.setAttribute("visibility", "hidden");
  });
  svg.addEventListener("pointerleave", () => start === null && on.hover?.(null));
  svg.addEventListener("dblclick", () => on.reset?.());
  svg.addEventListener("keydown", (event) => {
    const place = frame.cursor === null ? (frame.inner.left + frame.inner.right) / 2 : frame.x.to(frame.cursor);
    const step = (frame.inner.right - frame.inner.left) / (event.shiftKey ? 10 : 100);
    const move = (to) => on.hover?.(frame.x.from(Math.max(frame.inner.left, Math.min(frame.inner.right, to))));
    const zoom = (factor) => {
      const [left, right] = [frame.inner.left, frame.inner.right].map((end) => place + (end - place) * factor);
      on.brush?.(frame.x.from(left), frame.x.from(right));
    };
    const keys = {
      ArrowLeft: () => move(place - step), ArrowRight: () => move(place + step),
      Home: () => move(frame.inner.left), End: () => move(frame.inner.right),
      Enter: () => on.pick?.(frame.x.from(place)), Escape: () => on.reset?.(),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
}

/** Buttons that show and hide series; `hidden` is the set of names that are not shown. */
function legend(host, entries, hidden, changed) {
  host.replaceChildren();
  for (const { name, color, dash } of entries) {
    const sample = shape("svg", { class: "sample", viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": "true" });
    sample.append(shape("line", { class: `line c${color}`, x1: 0, x2: 24, y1: 4, y2: 4, "stroke-dasharray": dash ?? "none" }));
    const toggle = () => {
      if (!hidden.delete(name)) hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      changed();
    };
    const button = node("button", { type: "button", "aria-pressed": String(!hidden.has(name)), on: { click: toggle } }, sample, name);
    host.append(button);
  }
}
