"use strict";
// The form for the times of sensors: how many Dags the button previews. What was typed for a plan comes back.
(() => {
  const form = document.getElementById("include");
  if (!form) return;
  const { count } = window.safeClear;
  const button = document.querySelector('button[form="include"]');
  const all = document.getElementById("after-all");
  const rows = [...form.querySelectorAll("tr[data-dag]")];
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  // The plan's Dag, and each Dag with a sensor that has a time and waits for one of them.
  const reached = () => {
    const timed = rows.filter((row) => "known" in row.dataset || row.querySelector('[name="after"]').value.trim() || all?.value.trim());
    const found = new Set([form.dataset.root]);
    for (let before = 0; before < found.size; ) {
      before = found.size;
      for (const { dataset } of timed) if (found.has(dataset.awaits)) found.add(dataset.dag);
    }
    return found.size;
  };

  const draw = () => {
    if (form.hasAttribute("data-sent")) return;
    const number = reached();
    const text = count(number, "Dag");
    write(document.querySelector("[data-say]"), text);
    write(button.querySelector("[data-label]"), `Preview ${text}`);
  };

  const key = "safe-clear:times";
  const { session, REASON_KEY } = window.safeClear;
  const stored = (name) => {
    const found = session((storage) => JSON.parse(storage.getItem(name)));
    return found?.plan === form.dataset.plan ? found : null;
  };
  const fields = rows.filter((row) => !("known" in row.dataset)).map((row) => [row.querySelector('[name="sensor"]').value, row.querySelector('[name="after"]')]);
  const keep = () => {
    const times = fields.filter(([, field]) => field.value.trim()).map(([sensor, field]) => [sensor, field.value]);
    session((storage) => storage.setItem(key, JSON.stringify({ plan: form.dataset.plan, times, all: all?.value ?? "" })));
  };

  if ("fresh" in form.dataset) {
    const { reason } = stored(REASON_KEY) ?? {};
    if (reason?.trim()) form.elements.reason.value = reason;
    const { times = [], all: ofAll = "" } = stored(key) ?? {};
    const typed = new Map(times);
    for (const [sensor, field] of fields) field.value ||= typed.get(sensor) ?? "";
    if (all) all.value ||= ofAll;
  }
  form.addEventListener("input", () => {
    draw();
    keep();
  });
  window.addEventListener("pageshow", draw);
  draw();
})();
