"use strict";
// Shortcuts of the selection form: date ranges, groups of states, names of time zones.
(() => {
  const form = document.getElementById("selection");
  if (!form) return;
  const field = (name) => form.elements.namedItem(name);
  const loaded = performance.now();
  const serverNow = () => new Date(Date.parse(form.dataset.now) + (performance.now() - loaded));

  const dayIn = (zone, offset) => {
    const today = new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" });
    const parts = Object.fromEntries(today.formatToParts(serverNow()).map(({ type, value }) => [type, Number(value)]));
    return new Date(Date.UTC(parts.year, parts.month - 1, parts.day + offset)).toISOString().slice(0, 10);
  };

  const day = (offset) => {
    try {
      return dayIn(field("timezone").value.trim() || "UTC", offset);
    } catch {
      return null; // not a time zone: the server says so at the field
    }
  };

  const ranges = document.querySelector("[data-ranges]");
  const showRange = () => {
    for (const chip of ranges.children) {
      const pressed = field("date_from").value === day(Number(chip.dataset.from))
        && field("date_to").value === day(Number(chip.dataset.to));
      chip.setAttribute("aria-pressed", String(pressed));
    }
  };
  ranges.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const from = day(Number(chip.dataset.from));
    if (from === null) {
      field("timezone").focus();
      return;
    }
    field("date_from").value = from;
    field("date_to").value = day(Number(chip.dataset.to));
    showRange();
  });

  const presets = document.querySelector("[data-presets]");
  const boxes = () => [...form.querySelectorAll('input[name="state"]')];
  const statesOf = (chip) => chip.dataset.states.split(" ").filter(Boolean);
  const showPreset = () => {
    const picked = boxes().filter((box) => box.checked).map((box) => box.value);
    for (const chip of presets.children) {
      const states = statesOf(chip);
      const same = states.length === picked.length && states.every((state) => picked.includes(state));
      chip.setAttribute("aria-pressed", String(same));
    }
  };
  presets.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const states = statesOf(chip);
    for (const box of boxes()) box.checked = states.includes(box.value);
    showPreset();
  });

  const zones = document.getElementById("zones");
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const names = new Set(["UTC", here, ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  zones.replaceChildren(...[...names].filter(Boolean).map((name) => new Option("", name)));

  form.addEventListener("input", () => {
    showRange();
    showPreset();
  });
  for (const group of [ranges, presets]) group.hidden = false;
  showRange();
  showPreset();
})();
