// The canvas at one pass, amid the document, and what steps through the passes.

/** What is shown: indices into the canvases, the frames of one, and its free rows. */
const view = { canvas: trace.chosen, frame: 0, row: 0 };
const present = () => trace.canvases[view.canvas];
const presentFrame = () => present().frames[view.frame];

/** Indices of a frame's cells that are free rows, in order. */
function freeCells(frame) {
  frame.free ??= Array.from(frame.states, (state, index) => (state === "p" ? -1 : index)).filter((index) => index >= 0);
  return frame.free;
}

/** The free row `row` of a frame. */
function cellAt(frame, row) {
  const index = freeCells(frame)[row];
  return index === undefined
    ? null
    : {
        row,
        text: trace.strings[frame.cells[index]],
        state: frame.states[index],
        entropy: frame.entropy[index],
        choices: frame.choices?.[index] ?? null,
      };
}

function passName(canvas, frame) {
  if (frame.pass === 0) return "as offered";
  const passes = canvas.frames.filter((other) => other.pass > 0).length;
  return `pass ${frame.pass} of ${passes}`;
}

function dress(span, cell) {
  const heated = cell.entropy === null ? null : warmth(cell.entropy);
  span.className = `cell ${STATES[cell.state]}${heated ? "" : " cold"}`;
  span.style.backgroundColor = heated?.paper ?? "";
  span.style.color = heated?.ink ?? "";
}

/** Document and holes of the present canvas, laid out anew; its cells are filled by `drawCells`. */
function layOut() {
  const canvas = present();
  const [before, after] = [trace.before.text, trace.after.text];
  const known = before.length - canvas.head;
  const above = lines([
    [before.slice(0, known), "pin"],
    [before.slice(known), "pin near"],
    [canvas.written ?? "", "pin near"],
  ]);
  const below = lines([
    [after.slice(0, canvas.tail), "pin near"],
    [after.slice(canvas.tail), "pin"],
  ]);
  const live = above.pop();
  if (canvas.written === null) live.push(element("span", { class: "gap", text: "what earlier canvases wrote" }));
  live.push(element("span", { id: "cells", role: "listbox", "aria-label": "Free rows of the canvas" }), ...below.shift());
  // The end of the last line begins no line.
  if (trace.after.chars === 0 && below.length > 0 && below.at(-1).length === 0) below.pop();
  // Below the hole the lines are counted as they will be.
  const hole = trace.before.line + before.split("\n").length - 1;
  const next = hole + trace.candidates[0].text.split(/\r\n|\r|\n/).length;
  $("code").replaceChildren(
    cutNote(trace.before, "above"),
    ...above.map((line, index) => numbered(line, trace.before.line + index)),
    numbered(live, trace.before.line + above.length, "live"),
    ...below.map((line, index) => numbered(line, next + index)),
    cutNote(trace.after, "below"),
  );
}

/** Stretches of text with their classes, parted into lines of spans. */
function lines(stretches) {
  const parted = [[]];
  for (const [text, kind] of stretches) {
    text.split("\n").forEach((part, index) => {
      if (index > 0) parted.push([]);
      if (part) parted.at(-1).push(element("span", { class: kind, text: inert(part) }));
    });
  }
  return parted;
}

function numbered(line, number, kind = "") {
  return element("div", { class: `line ${kind}` }, element("span", { class: "number", "aria-hidden": "true", text: number }), element("span", { class: "source" }, ...line));
}

function cutNote(side, where) {
  const lines = side.lines > 0 ? count(side.lines, "line") : count(side.chars, "character");
  return side.chars > 0 ? element("p", { class: "cut", text: `${lines} more ${where}` }) : "";
}

function drawCells() {
  const frame = presentFrame();
  const nodes = [];
  let row = -1;
  frame.cells.forEach((string, index) => {
    const text = trace.strings[string];
    const state = frame.states[index];
    if (state === "p") {
      nodes.push(element("span", { class: "pin near", text: inert(text) }));
      return;
    }
    row += 1;
    const cell = cellAt(frame, row);
    const label = `row ${row + 1}: ${spoken(text)}, ${STATES[state]}${cell.entropy === null ? "" : `, ${nats(cell.entropy)}`}`;
    const options = { role: "option", "data-row": row, "aria-label": label, "aria-describedby": "inspector" };
    // Noise breaks no lines: they would jump with every pass.
    const span = element("span", options, ...marked(text, state === "a"));
    dress(span, cell);
    nodes.push(span, state === "a" && text.endsWith("\n") ? "\n" : element("wbr"));
  });
  // A break at the end belongs behind the cell, or its frame would be drawn on the next line as well.
  for (const span of nodes.filter((node) => node.className?.startsWith("cell"))) {
    if (span.lastChild?.data === "\n") span.lastChild.remove();
  }
  const focused = document.activeElement?.dataset?.row !== undefined;
  $("cells").replaceChildren(...nodes);
  markRow(focused);
}

/** Show which row is selected, and hand it the focus if it is to have it. */
function markRow(focus = false) {
  for (const span of $("cells").querySelectorAll("[data-row]")) {
    const own = Number(span.dataset.row) === view.row;
    span.setAttribute("aria-selected", own);
    span.tabIndex = own ? 0 : -1;
    if (own && focus) span.focus({ preventScroll: true });
  }
}

function drawTransport() {
  const canvas = present();
  const frame = presentFrame();
  const last = canvas.frames.length - 1;
  const name = passName(canvas, frame);
  $("slider").max = last;
  $("slider").value = view.frame;
  $("slider").setAttribute("aria-valuetext", name);
  $("slider").style.setProperty("--done", `${last ? (100 * view.frame) / last : 100}%`);
  $("where").textContent = name;
  // Not `disabled`, which would take the focus away from who steps with the keyboard.
  for (const id of ["first", "back"]) $(id).setAttribute("aria-disabled", view.frame === 0);
  for (const id of ["forward", "last"]) $(id).setAttribute("aria-disabled", view.frame === last);
  const rows = freeCells(frame).map((_, row) => cellAt(frame, row));
  const read = rows.filter((cell) => cell.entropy !== null);
  const accepted = rows.filter((cell) => cell.state === "a").length;
  const mean = read.reduce((sum, cell) => sum + cell.entropy, 0) / read.length;
  const reads = element("span", { class: "reads" });
  reads.append(...marked(frame.reads.map((index) => trace.strings[index]).join(" | ")));
  $("state").replaceChildren(
    ...[
      frame.ms === null ? null : element("span", { text: `${milliseconds(frame.ms)} after the start` }),
      element("span", { text: `${accepted} of ${count(rows.length, "row")} accepted` }),
      read.length ? element("span", { text: `mean entropy ${nats(mean)}` }) : null,
      element("span", { class: "long" }, "reads ", reads),
    ].filter(Boolean),
  );
}

/** Whether what a canvas read went into the fill: it was offered, or it had no rivals. */
function chosen(canvas) {
  const rivals = trace.canvases.filter((other) => other.turn === canvas.turn);
  return rivals.length === 1 || canvas.frames.some((frame) => frame.pass === 0);
}

function drawTabs() {
  const focused = $("tabs").contains(document.activeElement);
  $("tabs").replaceChildren(
    ...trace.canvases.map((canvas, index) => {
      const last = canvas.frames.at(-1);
      const own = index === view.canvas;
      const reads = last.reads.map((string) => trace.strings[string]).join(" | ");
      const passes = new Set(canvas.frames.filter((frame) => frame.pass).map((frame) => frame.pass)).size;
      const rounds = trace.canvases.some((other) => other.turn > 0) ? `round ${canvas.turn + 1}, ` : "";
      return element(
        "button",
        { role: "tab", id: `tab-${index}`, "data-canvas": index, "aria-selected": own, tabindex: own ? 0 : -1, "aria-controls": "panel" },
        element("span", { class: "rows" }, count(canvas.rows, "row"), ...(chosen(canvas) ? [" ", element("em", { text: "chosen" })] : [])),
        element("span", { class: "reads" }, ...marked(reads.length > 60 ? `${reads.slice(0, 60)}…` : reads)),
        element("span", { class: "small", text: rounds + count(passes, "pass", "passes") }),
      );
    }),
  );
  $("panel").setAttribute("aria-labelledby", `tab-${view.canvas}`);
  if (focused) $(`tab-${view.canvas}`).focus();
}

function drawLegend() {
  const steps = Array.from({ length: 33 }, (_, index) => warmth((index / 32) ** 2 * TOP).paper);
  $("ramp").style.background = `linear-gradient(to right, ${steps.join(", ")})`;
  const values = [0, 0.1, 0.5, 1, 2, 4, 8, 16].filter((value) => value < TOP * 0.8);
  $("ticks").replaceChildren(
    ...[...values, TOP].map((value) => {
      const tick = element("span", { text: value });
      tick.style.left = `${100 * heat(value)}%`;
      return tick;
    }),
  );
}
