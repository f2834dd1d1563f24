"use strict";
// An undo restores exactly the previewed runs. While other runs are ticked, the button waits for a new preview.
(() => {
  const form = document.getElementById("choose");
  const button = document.querySelector('button[form="confirm"]');
  if (!form) return;
  const boxes = [...form.querySelectorAll('input[type="checkbox"]:not(:disabled)')];
  const shown = boxes.map((box) => box.defaultChecked);
  const name = boxes[0]?.name;
  const noun = form.dataset.noun ?? "runs";
  const preview = form.querySelector("[data-choose]");
  const say = document.querySelector("[data-say]");
  const asOf = document.querySelector("[data-as-of]");

  const check = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    const same = boxes.every((box, index) => box.checked === shown[index]);
    // Other pages may have runs that stay ticked.
    const isNone = ticked === 0 && Number(form.dataset.shown ?? 0) <= boxes.length;
    preview.setAttribute("aria-disabled", String(same || isNone));
    if (!button) return;
    button.setAttribute("aria-disabled", String(!same));
    button.classList.toggle("waits", !same);
    say.classList.toggle("warn", !same);
    if (asOf) asOf.hidden = !same;
    const wanted = same ? "" : !isNone ? `${window.safeClear.number(ticked)} of the ${noun} on this page are ticked: preview again first` : `No ${noun.slice(0, -1)} is ticked`;
    if (say.textContent !== wanted) say.textContent = wanted;
  };

  form.addEventListener("change", check);
  form.addEventListener("submit", (event) => {
    if (preview.getAttribute("aria-disabled") === "true") return void event.preventDefault();
    if (!form.hasAttribute("data-paged")) return;
    // There are more runs than boxes here: the request names the runs to leave out, not the chosen ones.
    for (const box of boxes) {
      if (box.checked) box.disabled = true;
      else box.name = "without";
      box.checked = true;
    }
  });
  document.getElementById("confirm")?.addEventListener("submit", (event) => {
    if (button.getAttribute("aria-disabled") !== "true") return;
    event.preventDefault();
    event.stopPropagation();
    preview.focus();
  });
  // Ticks that the browser restored after going back differ from what the page shows.
  window.addEventListener("pageshow", () => {
    for (const box of boxes) {
      if (box.name === "without") box.checked = false;
      box.name = name;
      box.disabled = false;
    }
    check();
  });
  check();
})();
