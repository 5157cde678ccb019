// Moving about: by pointer, by keyboard, by itself.

let timer = null;

/** Go to a canvas, a frame, a row; what is out of range goes to the nearest there is. */
function go(change) {
  const canvas = change.canvas ?? view.canvas;
  const moved = canvas !== view.canvas;
  view.canvas = Math.max(0, Math.min(canvas, trace.canvases.length - 1));
  view.frame = Math.max(0, Math.min(change.frame ?? view.frame, present().frames.length - 1));
  view.row = Math.max(0, Math.min(change.row ?? view.row, freeCells(presentFrame()).length - 1));
  if (moved) {
    drawTabs();
    layOut();
  }
  drawTransport();
  drawCells();
  drawHeatmap();
  followCursor();
  inspect(cellAt(presentFrame(), view.row), presentFrame());
  if (!moved) return;
  centre();
  $(`tab-${view.canvas}`).scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Scroll the document so that the hole is in the middle and the first line is whole. */
function centre() {
  const code = $("code");
  const [hole, box] = [$("cells").getBoundingClientRect(), code.getBoundingClientRect()];
  const top = code.scrollTop + hole.top - box.top - Math.max(40, (box.height - hole.height) / 2);
  const first = [...code.children].find((line) => line.offsetTop >= top);
  code.scrollTop = first && first !== code.firstChild ? first.offsetTop - 6 : 0;
}

function play(on) {
  clearInterval(timer);
  timer = null;
  const frames = present().frames.length;
  if (on && frames > 1) {
    if (view.frame === frames - 1) go({ frame: 0 });
    timer = setInterval(step, Math.max(40, Math.min(700, 12000 / frames)));
  }
  $("play").setAttribute("aria-label", timer ? "Pause" : "Play");
  $("play").querySelector("use").setAttribute("href", timer ? "#icon-pause" : "#icon-play");
}

function step() {
  go({ frame: view.frame + 1 });
  if (view.frame === present().frames.length - 1) play(false);
}

/** By hand: whatever plays stops. */
function jump(change) {
  play(false);
  go(change);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  const tab = target.closest?.("[role=tab]");
  const moves = {
    ArrowLeft: () => jump({ frame: view.frame - 1 }),
    ArrowRight: () => jump({ frame: view.frame + 1 }),
    Home: () => jump({ frame: 0 }),
    End: () => jump({ frame: Infinity }),
  };
  if (tab) {
    const goTab = (canvas) => jump({ canvas, frame: 0, row: 0 });
    moves.ArrowLeft = () => goTab(view.canvas - 1);
    moves.ArrowRight = () => goTab(view.canvas + 1);
    moves.Home = () => goTab(0);
    moves.End = () => goTab(Infinity);
  }
  if (target.dataset?.row !== undefined) {
    moves.ArrowUp = () => go({ row: view.row - 1 });
    moves.ArrowDown = () => go({ row: view.row + 1 });
  }
  if (!target.closest?.("button")) moves[" "] = () => play(timer === null);
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  move();
}

function wire() {
  $("first").onclick = () => jump({ frame: 0 });
  $("back").onclick = () => jump({ frame: view.frame - 1 });
  $("forward").onclick = () => jump({ frame: view.frame + 1 });
  $("last").onclick = () => jump({ frame: Infinity });
  $("play").onclick = () => play(timer === null);
  $("slider").oninput = () => jump({ frame: Number($("slider").value) });
  $("tabs").onclick = (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) jump({ canvas: Number(tab.dataset.canvas), frame: 0, row: 0 });
  };
  const rowOf = (event) => event.target.closest?.("#cells [data-row]")?.dataset.row;
  $("code").onclick = (event) => rowOf(event) && jump({ row: Number(rowOf(event)) });
  $("code").addEventListener("focusin", (event) => rowOf(event) && Number(rowOf(event)) !== view.row && go({ row: Number(rowOf(event)) }));
  $("code").onpointerover = (event) => {
    const row = rowOf(event) ?? view.row;
    inspect(cellAt(presentFrame(), Number(row)), presentFrame());
  };
  $("code").onpointerleave = () => inspect(cellAt(presentFrame(), view.row), presentFrame());
  $("heatmap").onpointermove = showPointed;
  $("heatmap").onpointerleave = leavePointed;
  $("heatmap").onclick = (event) => {
    const place = pointedAt(event);
    if (place) jump({ frame: place.index, row: place.row });
  };
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawThemed);
  new ResizeObserver(drawHeatmap).observe($("scroller"));
}

function drawThemed() {
  readTheme();
  drawLegend();
  forgetHeatmap();
  go({});
}

/** Where the address points, such as `#canvas=2&pass=3&row=1`; all from 1. */
function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const number = (name, otherwise) => (/^\d+$/.test(wanted.get(name)) ? Number(wanted.get(name)) - 1 : otherwise);
  return { canvas: number("canvas", trace.chosen), frame: number("pass", 0), row: number("row", 0) };
}

drawHeader();
drawCandidates();
drawTime();
drawTokens();
drawNotes();
if (trace.canvases.length) {
  view.canvas = -1;
  readTheme();
  drawLegend();
  leavePointed();
  wire();
  go(fromAddress());
} else {
  $("stage").replaceChildren(element("p", { class: "note", text: "The engine sent no drafts of this fill, so there are no passes to show." }));
  $("map").remove();
}
