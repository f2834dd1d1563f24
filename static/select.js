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
  ranges.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
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

  const regexes = document.querySelector("[data-regexes]");
  const showRegex = () => {
    const regex = field("task_regex").value;
    for (const chip of regexes.querySelectorAll("button")) {
      press(chip, chip.hasAttribute("data-whole") ? !regex && !pickedStates().length : regex === chip.dataset.regex);
    }
  };
  regexes.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const whole = chip.hasAttribute("data-whole");
    fill({ task_regex: whole ? "" : chip.dataset.regex });
    if (whole) pickStates([]);
  });

  const copy = async (button) => {
    const command = document.getElementById(button.dataset.copy);
    const label = button.querySelector("span");
    try {
      await navigator.clipboard.writeText(command.textContent);
      label.textContent = "Copied";
    } catch {
      // no clipboard without https, or in this frame: it is selected, to be copied by hand
      getSelection().selectAllChildren(command);
      label.textContent = "Selected";
    }
    setTimeout(() => {
      label.textContent = "Copy";
    }, 2_000);
  };

  form.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy], button[data-set]");
    if (button?.dataset.copy) copy(button);
    if (button?.dataset.set) {
      fill({ [button.dataset.set]: button.dataset.value });
      field(button.dataset.set).focus();
    }
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
