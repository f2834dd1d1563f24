"use strict";
// The runs of a plan in waves: updates their progress while the page is open.
(() => {
  const section = document.querySelector("[data-waves][data-live]");
  const { number } = window.safeClear;

  // Returns whether the strip on the page has just the parts that there are now.
  const draw = (runs) => {
    if (!runs) return true;
    const parts = [...section.querySelectorAll("[data-part]")];
    const now = Object.entries(runs).filter(([name, count]) => count > 0 && !["skipped", "unfinished"].includes(name));
    if (now.length !== parts.length || now.some(([name]) => !parts.some((part) => part.dataset.part === name))) return false;
    const total = now.reduce((sum, [, count]) => sum + count, 0);
    const rects = [...section.querySelectorAll(".bar rect")];
    let x = 0;
    parts.forEach((part, index) => {
      const count = runs[part.dataset.part];
      part.querySelector("[data-count]").textContent = number(count);
      rects[index]?.setAttribute("x", `${x}%`);
      rects[index]?.setAttribute("width", `${(100 * count) / total}%`);
      x += (100 * count) / total;
    });
    return true;
  };

  // A person who fills in the fields is not interrupted.
  const isBusy = () => section.querySelector(".pace[open]") !== null || document.querySelector("form[data-sent]") !== null;
  if (section) {
    document.addEventListener("safe-clear:progress", ({ detail: { waves } }) => {
      const isKnown = (waves?.state ?? "") === section.dataset.state && draw(waves?.runs);
      if (!isKnown && !isBusy()) location.replace(section.dataset.page);
    });
  }

  // The line that says how fast a clear goes, as the fields behind it are filled in.
  window.safeClear.onPage((signal) => {
    for (const pace of document.querySelectorAll("[data-pace]")) {
      const text = pace.querySelector("[data-pace-text]");
      if (!text) continue;
      const fields = [...pace.querySelectorAll("input, select")];
      const isSet = (field) => (field.type === "checkbox" ? field.checked : field.value.trim() !== "");
      const write = () => {
        const filled = fields.filter(isSet);
        const all = filled.length === 1 && filled[0].type === "checkbox";
        text.textContent = all ? "All at once" : filled.length ? "In waves, as below" : text.dataset.default;
      };
      pace.addEventListener("input", write);
      pace.addEventListener("change", write);
      window.addEventListener("pageshow", write, { signal });
    }
  });
})();
