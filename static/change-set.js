"use strict";
// The bar of a change set: the missing steps, and how long the set is valid.
(() => {
  const dock = document.querySelector(".dock[data-expires]");
  const button = dock?.querySelector("[data-primary]");
  if (!button) return;
  const { count } = window.safeClear;
  const { form } = button;
  const left = dock.querySelector("[data-left]");
  const boxes = form.id === "confirm" ? [...document.querySelectorAll('input[name="acknowledge"][form="confirm"]')] : [];
  // They are in the bar, beside the button, and name the form that they belong to.
  const typed = dock.querySelector("[data-expected]");
  const reason = dock.querySelector('[name="reason"][aria-required]');
  const write = (element, text) => {
    if (element.textContent.trim() !== text) element.textContent = text;
  };

  const missing = () => {
    const found = [];
    const open = boxes.filter((box) => !box.checked);
    if (open.length) found.push({ what: `Acknowledge ${count(open.length, "finding")}`, field: open[0] });
    if (reason && !reason.value.trim()) found.push({ what: "Enter a reason", field: reason });
    if (typed && typed.value.trim() !== typed.dataset.expected) found.push({ what: "Type the number", field: typed });
    return found;
  };

  const check = () => {
    if (form.hasAttribute("data-sent")) return;
    const found = missing();
    write(left, found.map(({ what }) => what).join(" · "));
    button.setAttribute("aria-disabled", String(found.length > 0));
    button.toggleAttribute("data-lacks", found.length > 0);
  };

  form.addEventListener("submit", (event) => {
    const [first] = missing();
    if (!first) return;
    event.preventDefault();
    event.stopPropagation(); // before the page takes it as sent
    check();
    for (let fold = first.field.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    first.field.focus({ preventScroll: true });
    first.field.scrollIntoView({ block: "center" });
  });
  for (const field of [...boxes, reason, typed]) {
    field?.addEventListener("input", check);
    field?.addEventListener("change", check);
  }
  // The browser may have restored the fields.
  window.addEventListener("pageshow", check);
  check();

  // After its time the page offers a new preview instead.

  const again = dock.querySelector("form[data-again]");
  const validity = dock.querySelector("[data-validity]");
  const loaded = performance.now();
  const remaining = Date.parse(dock.dataset.expires) - Date.parse(dock.dataset.now);
  const [soon, counted] = [5, 120];

  const tick = () => {
    if (form.hasAttribute("data-sent")) return;
    const minutes = (remaining - (performance.now() - loaded)) / 60_000;
    if (minutes > counted) return;
    validity.classList.toggle("warn", minutes <= soon);
    if (minutes > 0) {
      write(validity, `Valid for ${Math.max(1, Math.floor(minutes))} min (until ${dock.dataset.until})`);
      return;
    }
    clearInterval(timer);
    write(validity, "This change set has expired. Preview again to see the current state.");
    const hadFocus = document.activeElement === button;
    again.hidden = false;
    left.remove();
    button.remove();
    dock.querySelector("[data-change]")?.remove();
    if (hadFocus) again.querySelector("button").focus();
  };

  const timer = setInterval(tick, 10_000);
  document.addEventListener("visibilitychange", tick);
})();

// A click selects the whole address, to copy it for the second person.
document.querySelector("[data-select]")?.addEventListener("focus", ({ target }) => target.select());

// The progress of each Dag, while the set is in progress.
(() => {
  const table = document.querySelector("[data-turns]");
  if (!table) return;
  const { number } = window.safeClear;
  const labels = document.querySelector("[data-labels]").content;
  document.addEventListener("safe-clear:progress", ({ detail: { plans, undo } }) => {
    for (const { id, turn, done, put_back, stayed } of plans) {
      const row = table.querySelector(`[data-plan="${CSS.escape(id)}"]`);
      const now = row.querySelector("[data-turn]");
      if (now.dataset.turn !== turn) now.replaceWith(labels.querySelector(`[data-turn="${CSS.escape(turn)}"]`).cloneNode(true));
      const shown = number(undo.under_way ? put_back + stayed : done);
      const count = row.querySelector("[data-done]");
      if (count.textContent !== shown) count.textContent = shown;
    }
  });
})();
