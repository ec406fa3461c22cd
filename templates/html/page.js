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

  // Filters. What follows from a finding is unfolded while it matches and its cause does not.
  const cards = all(".card");
  const form = document.querySelector(".filters");
  const search = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
  const layersOf = (card) => JSON.parse(card.dataset.layers || "[]");
  const filter = () => {
    const severities = all("[name=severity]:checked", form).map((box) => box.value);
    const [stage, layer, text] = ["stage", "layer", "search"].map((name) => form.elements[name].value.trim().toLowerCase());
    let shown = 0;
    cards.forEach((card) => {
      const matches = severities.includes(card.dataset.severity) && (!stage || card.dataset.stage === stage)
        && (!layer || layersOf(card).some((name) => name.toLowerCase().includes(layer)))
        && (!text || search.get(card).includes(text));
      card.hidden = !matches;
      shown += matches;
    });
    all(".group").forEach((group) => {
      const below = group.querySelector(".following");
      const some = below && all(".card", below).some((card) => !card.hidden);
      if (below) {
        below.hidden = !some;
        if (some && group.querySelector(".card").hidden) below.open = true;
      }
      group.hidden = !some && group.querySelector(".card").hidden;
    });
    form.querySelector("output").textContent = shown === cards.length ? "" : `${shown} of ${cards.length} shown`;
  };
  if (form) {
    form.addEventListener("input", filter);
    form.addEventListener("reset", () => setTimeout(filter));
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  // Keys.
  const go = (element) => { element.focus({ preventScroll: true }); element.scrollIntoView(); };
  const step = (by) => {
    const seen = cards.filter((card) => card.offsetParent && !card.closest("details:not([open])"));
    const at = seen.indexOf(document.activeElement.closest(".card"));
    const next = seen[by > 0 ? at + 1 : Math.max(0, at - 1)];
    if (next) go(next);
  };
  const keys = {
    j: () => step(1),
    k: () => step(-1),
    o: () => {
      const group = document.activeElement.closest(".group");
      const below = group && group.querySelector(".following");
      if (below) below.open = !below.open;
    },
    "/": () => { if (form) form.elements.search.focus(); },
    x: () => { if (form) form.reset(); },
    "?": () => {
      const help = document.querySelector(".keys");
      help.open = true;
      go(help.querySelector("summary"));
    },
  };
  "123456".split("").forEach((stage) => {
    keys[stage] = () => {
      const rung = document.querySelector(`[id$="stage-${stage}"]`);
      if (rung) { rung.open = !rung.open; go(rung.querySelector("summary")); }
    };
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (Object.hasOwn(keys, event.key)) { event.preventDefault(); keys[event.key](); }
  });

  // A link to something folded away unfolds it; so does printing.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let element = target; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
    if (target && form && target.closest("[hidden]")) { form.reset(); filter(); }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => all("details:not([open])").forEach((details) => { details.open = true; details.dataset.printed = ""; }));
  addEventListener("afterprint", () => all("[data-printed]").forEach((details) => { details.open = false; delete details.dataset.printed; }));

  // The record as a file, unpacked.
  const record = document.getElementById("record");
  if (record && "DecompressionStream" in window) record.addEventListener("click", async (event) => {
    if (!record.href.startsWith("data:")) return;
    event.preventDefault();
    const bytes = Uint8Array.from(atob(record.href.split(",")[1]), (char) => char.charCodeAt(0));
    const text = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
    record.href = URL.createObjectURL(await text.blob());
    record.download = "audit.json";
    record.click();
  });
})();
