"use strict";
// An undo restores exactly the previewed runs. While other runs are ticked, the button waits for a new preview.
(() => {
  const form = document.getElementById("choose");
  const button = document.querySelector('button[form="confirm"]');
  if (!form) return;
  const boxes = [...form.querySelectorAll('input[name="run_id"]')];
  const preview = form.querySelector("[data-choose]");
  const say = document.querySelector("[data-say]");
  const said = say?.textContent;

  const check = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    const same = ticked === boxes.length;
    preview.setAttribute("aria-disabled", String(same || ticked === 0));
    if (!button) return;
    button.setAttribute("aria-disabled", String(!same));
    button.classList.toggle("waits", !same);
    say.classList.toggle("warn", !same);
    const wanted = same ? said : ticked ? `${ticked.toLocaleString("en-US")} of the listed runs are ticked: preview again first` : "No run is ticked";
    if (say.textContent !== wanted) say.textContent = wanted;
  };

  form.addEventListener("change", check);
  form.addEventListener("submit", (event) => {
    if (preview.getAttribute("aria-disabled") === "true") event.preventDefault();
  });
  document.getElementById("confirm")?.addEventListener("submit", (event) => {
    if (button.getAttribute("aria-disabled") !== "true") return;
    event.preventDefault();
    event.stopPropagation();
    preview.focus();
  });
  // Ticks that the browser restored after going back differ from what the page shows.
  window.addEventListener("pageshow", check);
  check();
})();
