// One row after one pass: what it might have become.

function inspect(cell, frame) {
  if (cell === null) {
    $("inspector").replaceChildren();
    return;
  }
  const chip = element("span", {}, ...marked(cell.text));
  dress(chip, cell);
  const facts = [`row ${cell.row + 1} of ${freeCells(frame).length}`, frame.pass ? `pass ${frame.pass}` : "as offered"];
  const parts = [
    element("p", { class: "row" }, chip, element("span", { class: "facts" }, ...facts.map((text) => element("span", { text })))),
  ];
  const read = lastRead(cell, frame);
  if (read.entropy !== null) parts.push(entropyLine(read.entropy));
  if (read.choices?.length) parts.push(choiceList({ ...cell, choices: read.choices }));
  parts.push(element("p", { class: "why", text: why(read, frame) }));
  $("inspector").replaceChildren(...parts);
}

/** The row as the model read it last: a canvas is offered without being read once more. */
function lastRead(cell, frame) {
  if (frame.pass) return cell;
  const read = present().frames.findLast((other) => other.pass > 0);
  return (read && cellAt(read, cell.row)) ?? cell;
}

function entropyLine(entropy) {
  const mark = element("span", { class: "needle" });
  mark.style.left = `${100 * Math.min(1, heat(entropy))}%`;
  const scale = element("span", { class: "gauge", "aria-hidden": "true" }, mark);
  scale.style.background = $("ramp").style.background;
  return element("p", { class: "entropy" }, element("b", { text: nats(entropy) }), scale);
}

/** The likeliest tokens with bars; what the likelier ones leave is for all others. */
function choiceList(cell) {
  const list = element("ol", { class: "choices", "aria-label": "Likeliest tokens" });
  for (let at = 0; at < cell.choices.length; at += 2) {
    const text = trace.strings[cell.choices[at]];
    const probability = cell.choices[at + 1];
    const bar = element("i");
    bar.style.width = `${100 * probability}%`;
    const taken = cell.state === "a" && text === cell.text;
    list.append(
      element(
        "li",
        { class: taken ? "taken" : null, "aria-label": `${spoken(text)}, ${percent(probability)}` },
        element("span", { class: "token" }, ...marked(text)),
        element("span", { class: "bar" }, bar),
        element("span", { class: "share", text: percent(probability) }),
      ),
    );
  }
  return list;
}

function why(cell, frame) {
  if (cell.entropy === null) return "The trace does not say what the model made of this row.";
  const said = frame.pass
    ? { a: "Accepted: certain enough, the row took a sample of what the model read.", n: "Noise: not certain enough, the row got a random token for the next pass." }[cell.state]
    : "As offered. The figures are those of the last pass.";
  if (cell.choices !== null || trace.every === 1) return said;
  return `${said} The likeliest tokens were left out: this file has those of one pass in ${trace.every}.`;
}
