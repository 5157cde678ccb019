// Entropy as a picture: rows of the canvas across, passes downward.

const GUTTER = 34;
const HEAD = 20;

/** The map of a canvas without the cursor: it is drawn once, and copied for every step. */
let map = null;

function forgetHeatmap() {
  map = null;
}

function drawHeatmap() {
  const room = $("scroller").clientWidth;
  if (map?.canvas !== view.canvas || map.room !== room) map = { canvas: view.canvas, room, ...paintMap(room) };
  const shown = $("heatmap");
  shown.width = map.picture.width;
  shown.height = map.picture.height;
  shown.style.width = `${map.across}px`;
  shown.style.height = `${map.down}px`;
  const extent = `${count(map.rows, "row")} over ${count(map.passes.length, "pass", "passes")}`;
  shown.setAttribute("aria-label", `Entropy of ${extent}; the rows of the canvas above say the same`);
  const pen = shown.getContext("2d");
  pen.drawImage(map.picture, 0, 0);
  pen.scale(map.ratio, map.ratio);
  drawCursor(pen);
}

/** Scroll the map, should it be so long, to where the present pass is. */
function followCursor() {
  const line = map.passes.findIndex(({ index }) => index === view.frame);
  const scroller = $("scroller");
  const [top, bottom] = [line * map.height, HEAD + (line + 2) * map.height];
  if (line >= 0 && top < scroller.scrollTop) scroller.scrollTop = top;
  else if (bottom > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = bottom - scroller.clientHeight;
}

function paintMap(room) {
  const passes = present().frames.map((frame, index) => ({ frame, index })).filter(({ frame }) => frame.pass > 0);
  const rows = present().rows;
  const width = Math.max(2, Math.min(72, Math.floor((room - GUTTER - 2) / rows)));
  const height = Math.max(3, Math.min(26, Math.floor(420 / passes.length)));
  const [across, down] = [GUTTER + rows * width + 2, HEAD + passes.length * height + 2];
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const picture = element("canvas", { width: across * ratio, height: down * ratio });
  const pen = picture.getContext("2d");
  pen.scale(ratio, ratio);
  pen.textBaseline = "middle";
  const painted = { passes, rows, width, height, across, down, ratio, picture };
  paintAxes(pen, painted);
  const brush = { pen, width, height, ...colours() };
  passes.forEach(({ frame }, line) => {
    freeCells(frame).forEach((_, row) => paintBox(brush, cellAt(frame, row), GUTTER + row * width, HEAD + line * height));
  });
  return painted;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["accent", "ink", "line", "muted", "mono"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function paintAxes(pen, { passes, rows, width, height }) {
  pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  pen.fillStyle = colours().muted;
  pen.textAlign = "center";
  const across = tickStep(rows, width, 26);
  for (let row = 1; row <= rows; row += 1) {
    if (row === 1 || row % across === 0) pen.fillText(row, GUTTER + (row - 0.5) * width, HEAD / 2 - 2);
  }
  pen.textAlign = "right";
  const down = tickStep(passes.length, height, 16);
  passes.forEach(({ frame }, line) => {
    if (frame.pass === 1 || frame.pass % down === 0) pen.fillText(frame.pass, GUTTER - 8, HEAD + (line + 0.5) * height);
  });
}

/** Every how many places a label has room: 1, or a round number. */
function tickStep(places, size, room) {
  return [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => step * size >= room) ?? places;
}

function paintBox({ pen, width, height, accent, ink, line, mono }, cell, left, top) {
  const gap = width > 5 && height > 5 ? 1 : 0;
  const shades = cell.entropy === null ? { paper: line, ink } : warmth(cell.entropy);
  pen.fillStyle = shades.paper;
  pen.fillRect(left, top, width - gap, height - gap);
  if (cell.state === "a" && gap) {
    pen.strokeStyle = accent;
    pen.lineWidth = 1;
    pen.strokeRect(left + 0.5, top + 0.5, width - gap - 1, height - gap - 1);
  }
  if (width < 30 || height < 15) return;
  const text = cell.text === FILLER || cell.text === "" ? "•" : Array.from(cell.text, (char) => picture(char, false) ?? char).join("");
  pen.save();
  pen.beginPath();
  pen.rect(left + 2, top, width - 5, height);
  pen.clip();
  pen.globalAlpha = cell.state === "a" ? 1 : 0.8;
  pen.fillStyle = shades.ink;
  pen.font = `${cell.state === "a" ? "" : "italic "}11px ${mono}`;
  const fits = pen.measureText(text).width <= width - 8;
  pen.textAlign = fits ? "center" : "left";
  pen.fillText(text, fits ? left + (width - gap) / 2 : left + 4, top + height / 2);
  pen.restore();
}

/** A frame around the present pass, and one around the selected row in it; an arrow where a row is narrow. */
function drawCursor(pen) {
  const { passes, rows, width, height } = map;
  const line = passes.findIndex(({ index }) => index === view.frame);
  const { ink } = colours();
  pen.strokeStyle = pen.fillStyle = ink;
  if (line >= 0) {
    pen.lineWidth = 1.5;
    pen.strokeRect(GUTTER - 0.75, HEAD + line * height - 0.75, rows * width + 0.5, height + 0.5);
  }
  if (line >= 0 && width > 5 && height > 5) {
    pen.lineWidth = 2.5;
    pen.strokeRect(GUTTER + view.row * width, HEAD + line * height, width - 1, height - 1);
  } else if (width < 26) {
    const middle = GUTTER + (view.row + 0.5) * width;
    pen.beginPath();
    pen.moveTo(middle - 4, HEAD - 5);
    pen.lineTo(middle + 4, HEAD - 5);
    pen.lineTo(middle, HEAD);
    pen.fill();
  }
}

/** The row and the pass under the pointer, or null. */
function pointedAt(event) {
  const box = $("heatmap").getBoundingClientRect();
  const row = Math.floor((event.clientX - box.left - GUTTER) / map.width);
  const line = Math.floor((event.clientY - box.top - HEAD) / map.height);
  const pass = map.passes[line];
  return pass && row >= 0 && row < freeCells(pass.frame).length ? { row, index: pass.index, frame: pass.frame } : null;
}

function showPointed(event) {
  const place = pointedAt(event);
  $("heatmap").classList.toggle("over", place !== null);
  if (place === null) return leavePointed();
  const cell = cellAt(place.frame, place.row);
  $("pointed").replaceChildren(
    element("span", { text: `row ${place.row + 1}, pass ${place.frame.pass}` }),
    element("span", { text: `${spoken(cell.text)}, ${STATES[cell.state]}` }),
    element("span", { text: nats(cell.entropy) }),
  );
}

function leavePointed() {
  $("pointed").textContent = "rows across, passes down; click to go there";
}
