"use strict";
// Sorting and filtering of the rows that are already there; without it the list reads the same.
(() => {
  const body = document.querySelector("tbody");
  const rows = Array.from(body.rows);
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const shown = document.getElementById("shown");
  const paper = document.getElementById("on-paper");
  const onPaper = document.getElementById("on-paper-count");
  const leftOut = document.getElementById("left-out");
  const boxes = Array.from(document.querySelectorAll("input[name=kind]"));
  // A Mac writes é in two characters, a keyboard in one.
  const fold = (words) => words.toLowerCase().normalize("NFC");
  const text = rows.map((row) => fold(row.cells[1].textContent + row.cells[2].textContent));
  const compare = {
    urgency: (a, b) => a.dataset.place - b.dataset.place,
    probability: (a, b) => b.dataset.p - a.dataset.p,
    file: (a, b) => a.dataset.file.localeCompare(b.dataset.file, undefined, { numeric: true }),
  };
  const headers = { urgency: "by-urgency", probability: "by-probability", file: "by-file" };

  function sort() {
    const key = order.value;
    body.append(...rows.slice().sort((a, b) => compare[key](a, b) || compare.urgency(a, b)));
    for (const [name, id] of Object.entries(headers)) {
      const direction = name === "probability" ? "descending" : "ascending";
      document.getElementById(id).setAttribute("aria-sort", name === key ? direction : "none");
    }
  }
  function filter() {
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    const kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let count = 0;
    rows.forEach((row, index) => {
      const visible = kinds.has(row.dataset.kind) && words.every((word) => text[index].includes(word));
      row.hidden = !visible;
      count += visible;
    });
    shown.textContent = `${count} of ${rows.length} shown`;
    paper.hidden = count === Number(paper.dataset.films);
    onPaper.textContent = count;
    leftOut.textContent = count === rows.length ? "" : ` Left out: ${reasons(words)}.`;
  }
  function reasons(words) {
    const kinds = boxes.filter((box) => !box.checked).map((box) => `“${box.parentElement.textContent.trim()}”`);
    return [
      ...(kinds.length ? [`those marked ${kinds.join(", ")}`] : []),
      ...(words.length ? [`those without the words “${words.join(" ")}”`] : []),
    ].join("; ");
  }
  for (const [name, id] of Object.entries(headers)) {
    const header = document.getElementById(id);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => { order.value = name; sort(); });
    header.replaceChildren(button);
  }
  search.addEventListener("input", filter);
  order.addEventListener("change", sort);
  boxes.forEach((box) => box.addEventListener("change", filter));
  document.getElementById("tools").hidden = false;
  const apply = () => { sort(); filter(); };
  // Whoever comes back finds what was typed and ticked again, but only after this script has run.
  window.addEventListener("pageshow", apply);
  apply();
})();
