"use strict";
// The start page: the ticks, and the button that previews the ticked Dags. Back and a reload keep the ticks.
(() => {
  const table = document.querySelector("[data-ticks]");
  const dock = document.getElementById("ticked");
  if (!table || !dock) return;
  const key = "safe-clear:ticks";
  const { number, count } = window.safeClear;
  const boxes = [...table.querySelectorAll('input[name="dag_ids"]:not(:disabled)')];
  const all = document.getElementById("tick-all");
  const form = document.getElementById("preview");
  const button = form.querySelector("button");
  const most = Number(dock.dataset.most);
  const ticked = () => boxes.filter((box) => box.checked);
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const draw = () => {
    const chosen = ticked();
    const tooMany = chosen.length > most;
    dock.hidden = chosen.length === 0;
    all.checked = chosen.length > 0 && chosen.length === boxes.length;
    all.indeterminate = chosen.length > 0 && chosen.length < boxes.length;
    const failures = chosen.reduce((sum, box) => sum + Number(box.dataset.count), 0);
    const say = tooMany
      ? `${count(chosen.length, "Dag")} ticked: ${number(most)} can be previewed together`
      : `${count(chosen.length, "Dag")} ticked, ${count(failures, "failed task instance")}`;
    write(dock.querySelector("[data-say]"), say);
    if (form.hasAttribute("data-sent")) return;
    write(button.querySelector("[data-label]"), `Preview ${count(chosen.length, "Dag")}`);
    button.setAttribute("aria-disabled", String(tooMany));
  };

  const keep = () => {
    const ticks = JSON.stringify({ page: table.dataset.ticks, dagIds: ticked().map((box) => box.value) });
    window.safeClear.session((storage) => storage.setItem(key, ticks));
  };

  const restore = () => {
    const [navigation] = performance.getEntriesByType("navigation");
    if (!["back_forward", "reload"].includes(navigation?.type)) return;
    const { page, dagIds } = JSON.parse(window.safeClear.session((storage) => storage.getItem(key))) ?? {};
    if (page === table.dataset.ticks) for (const box of boxes) box.checked ||= dagIds.includes(box.value);
  };

  const change = () => {
    draw();
    keep();
  };

  all.parentElement.hidden = boxes.length < 2;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    change();
  });
  for (const box of boxes) box.addEventListener("change", change);
  form.addEventListener("submit", (event) => {
    if (ticked().length && ticked().length <= most) return;
    event.preventDefault();
    event.stopPropagation(); // before the page takes it as sent
  });
  window.addEventListener("pageshow", draw);
  restore();
  draw();
})();

// Names of time zones. Times are typed in the user's own zone by default.
(() => {
  const field = document.getElementById("filter-timezone");
  if (!field) return;
  const here = (() => {
    try {
      return localStorage.getItem("timezone") || Intl.DateTimeFormat().resolvedOptions().timeZone; // Airflow's choice
    } catch {
      return Intl.DateTimeFormat().resolvedOptions().timeZone; // storage is switched off
    }
  })();
  const known = Intl.supportedValuesOf?.("timeZone") ?? [];
  const names = new Set(["UTC", ...known]);
  document.getElementById("zones").replaceChildren(...[...names].map((name) => new Option("", name)));
  if (field.value || !names.has(here) || here === "UTC") return;
  field.value = here;
  for (const chip of document.querySelectorAll(".windows a")) {
    const address = new URL(chip.href);
    address.searchParams.set("timezone", here);
    chip.href = address;
  }
})();
