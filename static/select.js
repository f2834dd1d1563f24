"use strict";
// Shortcuts of the selection form: task groups, date ranges, groups of states, names of time zones, commands.
(() => {
  const form = document.getElementById("selection");
  if (!form) return;
  const field = (name) => form.elements.namedItem(name);
  const loaded = performance.now();
  const serverNow = () => new Date(Date.parse(form.dataset.now) + (performance.now() - loaded));

  const fill = (values) => {
    for (const [name, value] of Object.entries(values)) field(name).value = value;
    const [first] = Object.keys(values);
    field(first).dispatchEvent(new Event("input", { bubbles: true }));
  };

  const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

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
  const rangeOf = (chip) => {
    if (chip.dataset.typedFrom) return [chip.dataset.typedFrom, chip.dataset.typedTo];
    return chip.dataset.from ? [day(Number(chip.dataset.from)), day(Number(chip.dataset.to))] : null;
  };
  const showRange = () => {
    for (const chip of ranges.querySelectorAll("button")) {
      const range = rangeOf(chip);
      if (range) press(chip, field("date_from").value === range[0] && field("date_to").value === range[1]);
    }
  };
  // The dates that are given, some days earlier or later, each with the rest of its text.
  const shifted = (text, days) => {
    const found = /^(\d{4}-\d\d-\d\d)(.*)$/.exec(text.trim());
    if (!found || Number.isNaN(Date.parse(found[1]))) return text;
    return new Date(Date.parse(found[1]) + days * 86_400_000).toISOString().slice(0, 10) + found[2];
  };
  const shift = (days) => fill(Object.fromEntries(["date_from", "date_to"].map((name) => [name, shifted(field(name).value, days)])));
  ranges.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (chip?.dataset.shift) return void shift(Number(chip.dataset.shift));
    const range = chip && rangeOf(chip);
    if (!range) return;
    if (range[0] === null) field("timezone").focus();
    else fill({ date_from: range[0], date_to: range[1] });
  });

  const presets = document.querySelector("[data-presets]");
  const boxes = () => [...form.querySelectorAll('input[name="state"]')];
  const pickedStates = () => boxes().filter((box) => box.checked).map((box) => box.value);
  const pickStates = (states) => {
    for (const box of boxes()) box.checked = states.includes(box.value);
    boxes()[0].dispatchEvent(new Event("input", { bubbles: true }));
  };
  const statesOf = (chip) => chip.dataset.states.split(" ").filter(Boolean);
  const showPreset = () => {
    const picked = pickedStates();
    for (const chip of presets.children) {
      const states = statesOf(chip);
      press(chip, states.length === picked.length && states.every((state) => picked.includes(state)));
    }
  };
  presets.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    // Work that runs again needs what its setups made, and the teardowns have taken that away.
    form.querySelector('input[name="include_setups"][type="checkbox"]').checked = "setups" in chip.dataset;
    pickStates(statesOf(chip));
  });

  const FAILED = ["failed_from", "failed_to"];
  const regexes = document.querySelector("[data-regexes]");
  const showRegex = () => {
    const regex = field("task_regex").value;
    const ids = field("task_ids").value.trim();
    for (const chip of regexes.querySelectorAll("button")) {
      const whole = !regex && !ids && !pickedStates().length && FAILED.every((name) => !field(name).value);
      press(chip, chip.hasAttribute("data-whole") ? whole : !ids && regex === chip.dataset.regex);
    }
  };
  regexes.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const whole = chip.hasAttribute("data-whole");
    fill({ task_regex: chip.dataset.regex ?? "", task_ids: "", ...(whole && { failed_from: "", failed_to: "" }) });
    if (whole) pickStates([]);
  });

  form.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-set]");
    if (!button) return;
    fill({ [button.dataset.set]: button.dataset.value });
    field(button.dataset.set).focus();
  });

  form.addEventListener("click", (event) => {
    const [from, to] = event.target.closest("button[data-swap]")?.dataset.swap.split(" ") ?? [];
    if (!from) return;
    fill({ [to]: field(from).value, [from]: field(to).value });
    field(from).focus();
  });

  const zones = document.getElementById("zones");
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const names = new Set(["UTC", here, ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  zones.replaceChildren(...[...names].filter(Boolean).map((name) => new Option("", name)));

  const showAll = () => {
    showRange();
    showPreset();
    showRegex();
  };
  form.addEventListener("input", showAll);
  form.addEventListener("answered", showAll);
  for (const group of [ranges, presets, regexes]) group.hidden = false;
  showAll();
})();
