// Charts with uPlot. The server sends the series as data; colours come from the stylesheet, so both themes fit.
const DAY_S = 86400;
const plots = new Map();

function colour(name) {
  const probe = document.createElement("i");
  probe.className = name;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const two = (number) => String(number).padStart(2, "0");

function clock(second, isLong) {
  const at = new Date(second * 1000);
  const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return isLong ? `${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())} ${time}` : time;
}

function stacked(lines) {
  const sums = [];
  let below = null;
  for (const line of lines) {
    below = line.values.map((value, index) => (value ?? 0) + (below ? below[index] : 0));
    sums.push(below);
  }
  return sums;
}

// The axis ends with a mark at or above everything that is drawn.
function marks(high) {
  const rough = high / 4;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * ten >= rough) * ten;
  return Array.from({ length: Math.ceil(high / step - 1e-9) + 1 }, (_, place) => place * step);
}

const tidy = (value) => (value == null ? "?" : Number(value.toPrecision(3)).toLocaleString("en-US"));

function draw(box) {
  const chart = JSON.parse(box.dataset.chart);
  const { times } = chart;
  const isLong = times.at(-1) - times[0] >= DAY_S;
  const axis = { stroke: colour("axis"), font: "11px system-ui, sans-serif", ticks: { show: false } };
  const grid = { stroke: colour("gridline"), width: 1 };
  const sums = stacked(chart.stack);
  const dashes = [[], [3, 3], [8, 4]];
  const areas = sums.map((_, place) => {
    const tint = colour(`tint${Math.min(place, 3)}`);
    return { fill: tint, stroke: tint, width: 0, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) };
  });
  const lines = chart.lines.map((_, place) => ({
    stroke: colour(place === 1 ? "axis" : "inkline"),
    width: 1.5,
    dash: dashes[place % dashes.length],
    points: { show: false },
    spanGaps: false,
    paths: sums.length ? uPlot.paths.stepped({ align: 1 }) : undefined,
  }));
  const reads = document.createElement("div");
  reads.className = "reads-now";
  const all = [...chart.stack, ...chart.lines];
  const options = {
    width: box.clientWidth - 16,
    height: box.clientHeight,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: true }, y: { range: (_, __, high) => [0, marks(Math.max(high ?? 0, 1)).at(-1)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 26, values: (_, splits) => splits.map((one) => clock(one, isLong)), space: isLong ? 90 : 60 },
      { ...axis, grid, size: 44, splits: (_, __, ___, top) => marks(top), values: (_, splits) => splits.map((one) => tidy(one)) },
    ],
    series: [{}, ...areas.toReversed(), ...lines],
    hooks: {
      setCursor: [
        (plot) => {
          const at = plot.cursor.idx;
          reads.textContent =
            at == null ? "" : [clock(times[at], isLong), ...all.map((one) => `${one.name} ${tidy(one.values[at])}`)].join(" · ");
        },
      ],
    },
  };
  const plot = new uPlot(options, [times, ...sums.toReversed(), ...chart.lines.map((one) => one.values)], box);
  box.append(reads);
  const sizes = new ResizeObserver(() => plot.setSize({ width: box.clientWidth - 16, height: box.clientHeight }));
  sizes.observe(box);
  plots.set(box, { plot, sizes, drawn: box.dataset.chart });
}

function forget(box) {
  const { plot, sizes } = plots.get(box);
  sizes.disconnect();
  plot.destroy();
  box.replaceChildren();
  plots.delete(box);
}

function drawAll() {
  for (const box of [...plots.keys()]) {
    if (!box.isConnected || plots.get(box).drawn !== box.dataset.chart) forget(box);
  }
  for (const box of document.querySelectorAll("[data-chart]")) {
    if (!plots.has(box)) draw(box);
  }
}

export function startCharts() {
  drawAll();
  document.addEventListener("htmx:after:swap", drawAll);
  document.addEventListener("theme", () => {
    for (const box of [...plots.keys()]) forget(box);
    drawAll();
  });
}
