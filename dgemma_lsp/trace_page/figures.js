// What does not change from pass to pass: the offer, the time, the tokens.

const FINISHES = { converged: "settled", passes: "pass budget spent", deadline: "deadline reached" };
const STAGES = { queue: "waiting", load: "loading", prefill: "prefill", passes: "passes", rank: "ranking" };

function drawHeader() {
  document.title = `${trace.title} · trace of a fill`;
  $("title").textContent = inert(trace.title);
  const best = trace.candidates[0];
  const facts = [
    `${count(best.passes, "pass", "passes")}, ${FINISHES[best.finish]}`,
    trace.ms.total === undefined ? null : milliseconds(trace.ms.total),
    trace.canvases.length > 1 ? `${trace.canvases.length} canvases tried` : null,
    count(trace.candidates.length, "candidate"),
  ];
  $("summary").replaceChildren(...facts.filter(Boolean).map((text) => element("span", { text })));
}

function drawCandidates() {
  const list = element("ol", { class: "candidates" });
  trace.candidates.forEach((one, index) => {
    const facts = [
      one.score === null ? null : `score ${one.score.toFixed(2).replace("-", "−")}`,
      count(one.passes, "pass", "passes"),
      FINISHES[one.finish],
    ];
    list.append(
      element(
        "li",
        {},
        element("div", { class: "text", tabindex: one.text.includes("\n") ? 0 : null }, ...(one.text ? marked(one.text, true) : [element("i", { text: "nothing" })])),
        index === 0 ? element("em", { text: "offered" }) : null,
        element("p", { class: "facts" }, ...facts.filter(Boolean).map((text) => element("span", { text }))),
      ),
    );
  });
  $("candidates").append(list, element("p", { class: "small", text: "The score is the log-likelihood of the text and of what follows it, in nats." }));
}

function drawTime() {
  const stages = Object.keys(STAGES).filter((stage) => trace.ms[stage] > 0).map((stage) => [stage, trace.ms[stage]]);
  const sum = stages.reduce((total, [, ms]) => total + ms, 0);
  const total = trace.ms.total ?? sum;
  if (total - sum >= 0.5) stages.push(["rest", total - sum]);
  const bar = element("div", { class: "stack", "aria-hidden": "true" });
  const list = element("dl", { class: "stages" });
  for (const [stage, ms] of stages) {
    const part = element("span", { class: `stage-${stage}`, title: `${STAGES[stage] ?? stage} ${milliseconds(ms)}` });
    part.style.flexGrow = ms;
    bar.append(part);
    list.append(element("dt", {}, element("span", { class: `swatch stage-${stage}` }), STAGES[stage] ?? stage), element("dd", { text: milliseconds(ms) }));
  }
  list.append(element("dt", { class: "total", text: "total" }), element("dd", { class: "total", text: milliseconds(total) }));
  $("time").append(bar, list, ...passBars());
}

/** A column per pass, as high as it took long. */
function passBars() {
  const known = trace.passes.filter((pass) => pass.took !== null);
  if (known.length === 0) return [];
  const longest = Math.max(...known.map((pass) => pass.took));
  const columns = element("div", { class: "columns-chart", role: "img", "aria-label": `Time of each pass: ${known.length <= 16 ? known.map((pass) => milliseconds(pass.took)).join(", ") : `up to ${milliseconds(longest)}`}` });
  for (const pass of trace.passes) {
    const label = pass.took === null ? "not known" : milliseconds(pass.took);
    const column = element("span", { title: `pass ${pass.pass}, ${count(pass.canvases, "canvas", "canvases")}: ${label}` }, element("i"));
    column.firstChild.style.height = `${pass.took === null ? 0 : Math.max(2, (100 * pass.took) / longest)}%`;
    if (trace.passes.length <= 12) column.append(element("b", { text: pass.took === null ? "?" : pass.took.toFixed(pass.took < 10 ? 1 : 0) }));
    columns.append(column);
  }
  const mean = known.reduce((sum, pass) => sum + pass.took, 0) / known.length;
  return [element("h3", { text: `ms per pass, ${milliseconds(mean)} on average` }), columns];
}

function drawTokens() {
  const { prefix, reused, canvas, canvases } = trace.tokens;
  const facts = [];
  if (prefix !== undefined) facts.push(["prefix", prefix]);
  if (reused !== undefined) facts.push(["from the cache", reused, "part"], ["encoded", prefix - reused, "part"]);
  if (canvas !== undefined) facts.push(["rows of a canvas", canvas]);
  if (canvases !== undefined) facts.push(["canvases at once", canvases]);
  const list = element("dl", { class: "stages" });
  for (const [name, value, kind] of facts) {
    list.append(element("dt", { class: kind, text: name }), element("dd", { text: value.toLocaleString("en") }));
  }
  if (prefix > 0 && reused !== undefined) {
    const share = element("i");
    share.style.width = `${(100 * reused) / prefix}%`;
    $("tokens").append(element("div", { class: "meter", role: "img", "aria-label": `${percent(reused / prefix)} of the prefix came from the cache` }, share));
  }
  $("tokens").append(list);
}

function drawNotes() {
  const notes = [];
  if (trace.every > 1) notes.push(`To stay small this file holds the likeliest tokens of one pass in ${trace.every} only.`);
  if (trace.before.chars + trace.after.chars > 0) notes.push("Of the document this file holds only what stands around the hole.");
  $("notes").textContent = notes.join(" ");
}
