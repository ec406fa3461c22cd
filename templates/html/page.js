"use strict";
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  all(".js").forEach((element) => { element.hidden = false; });

  // Copy buttons.
  all(".code").forEach((block) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = block.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  });

  // Filters.
  const cards = all(".card");
  const form = document.querySelector(".filters");
  const filter = () => {
    const severities = all("[name=severity]:checked", form).map((box) => box.value);
    const stage = form.elements.stage.value;
    const text = form.elements.search.value.trim().toLowerCase();
    let shown = 0;
    cards.forEach((card) => {
      const matches = severities.includes(card.dataset.severity) && (!stage || card.dataset.stage === stage)
        && (!text || card.textContent.toLowerCase().includes(text));
      card.hidden = !matches;
      shown += matches;
    });
    form.querySelector("output").textContent = shown === cards.length ? "" : `${shown} of ${cards.length} shown`;
  };
  if (form) {
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  // Keys: j and k go through the findings, / searches.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/" && form) {
      event.preventDefault();
      form.elements.search.focus();
    } else if (event.key === "j" || event.key === "k") {
      const visible = cards.filter((card) => !card.hidden);
      const at = visible.indexOf(document.activeElement.closest(".card"));
      const next = visible[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
      if (next) { next.focus({ preventScroll: true }); next.scrollIntoView(); }
    }
  });

  // A link to something folded away unfolds it; so does printing.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let element = target; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
    if (target && target.hidden && form) { form.reset(); filter(); }
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => all("details:not([open])").forEach((details) => { details.open = true; details.dataset.printed = ""; }));
  addEventListener("afterprint", () => all("[data-printed]").forEach((details) => { details.open = false; delete details.dataset.printed; }));

  // The record as a file.
  const save = document.getElementById("save-record");
  if (save) save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([document.getElementById("record").textContent], { type: "application/json" }));
    link.download = "audit.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
})();
