"use strict";
// Plots of the last half hour: one canvas each, drawn from arrays in memory. Knows nothing of the interface.
const SECONDS = 1800;
const SPAN_MIN = 300;
const columnsOf = () => ({ calls: [], failures: [], errors: [], p50_ms: [], p95_ms: [], memory: [] });
function pushSecond(columns, second) {
  for (const name of Object.keys(columns)) {
    columns[name].push(second[name] ?? null);
    if (columns[name].length > SECONDS) columns[name].shift();
  }
}
// Adds the second at this moment after the one at `lastAt`: one that is there already is ignored, those between are unknown.
function append(columns, lastAt, at, second) {
  if (at <= lastAt) return lastAt;
  for (let missing = lastAt ? Math.min(at - lastAt - 1, SECONDS) : 0; missing > 0; missing--) pushSecond(columns, {});
  pushSecond(columns, second);
  return at;
}
// `show` is the text of a value: that of the largest stands at the top.
function draw(canvas, lines, marks, label, show) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const largest = Math.max(1e-9, ...lines.flatMap((line) => line.values.filter((value) => value !== null)));
  const span = Math.max(SPAN_MIN, ...lines.map((line) => line.values.length));
  const x = (place) => width - 1 - (place * (width - 2)) / span;
  context.strokeStyle = style.getPropertyValue("--line");
  context.strokeRect(0.5, 0.5, width - 1, height - 1);
  for (const mark of marks.filter((mark) => mark < span)) {
    context.fillStyle = style.getPropertyValue("--quiet");
    context.fillRect(Math.round(x(mark)), 0, 1, height);
  }
  for (const line of lines) {
    context.strokeStyle = style.getPropertyValue(line.color);
    context.lineWidth = 1.25;
    context.beginPath();
    let pen = false;
    line.values.forEach((value, index) => {
      if (value === null) { pen = false; return; }
      const place = line.values.length - 1 - index;
      const y = height - 2 - (value / largest) * (height - 6);
      if (pen) context.lineTo(x(place), y); else context.moveTo(x(place), y);
      pen = true;
    });
    context.stroke();
  }
  if (lines.some((line) => line.values.some((value) => value > 0))) {
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = style.getPropertyValue("--quiet");
    context.fillText(show(largest), 4, 12);
  }
  canvas.setAttribute("aria-label", label);
}
