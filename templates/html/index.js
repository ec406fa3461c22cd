"use strict";
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  all(".js").forEach((element) => { element.hidden = false; });
  const table = document.querySelector(".models");
  const body = table.tBodies[0];
  const rows = all("tr", body);
  const form = document.querySelector(".filters");
  const said = form.querySelector("output");

  // Sorting: a button in the head of each column; the first press sorts as the column is mostly read, the next turns it round.
  const key = (row, place) => {
    const cell = row.cells[place];
    return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent.trim().toLowerCase();
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  all("thead th", table).forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      all("thead th", table).forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      // What has no value in a column stands last, however it is sorted.
      const keyed = rows.map((row) => [key(row, place), row]);
      const has = ([value]) => value !== "" && !Number.isNaN(value);
      keyed.sort((a, b) => has(b) - has(a) || (has(a) ? sign * compare(a[0], b[0]) : 0));
      body.append(...keyed.map(([, row]) => row));
    });
  });

  // Filters.
  const filter = () => {
    const text = form.elements.search.value.trim().toLowerCase();
    const verdict = form.elements.verdict.value;
    let shown = 0;
    rows.forEach((row) => {
      const matches = (!verdict || row.dataset.verdict === verdict) && (!text || row.textContent.toLowerCase().includes(text));
      row.hidden = !matches;
      shown += matches;
    });
    said.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter(); // browsers keep what was typed over a reload

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/") {
      event.preventDefault();
      form.elements.search.focus();
    }
  });
})();
