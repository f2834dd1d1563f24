"use strict";
// Turns the Dag field into a combobox; the server's search fills its list.
(() => {
  const form = document.getElementById("selection");
  const input = form?.elements.namedItem("dag_id");
  if (!input) return;
  const DELAY = 150;

  const list = document.createElement("ul");
  list.id = "dag-list";
  list.className = "listbox";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Dags");
  list.hidden = true;
  const count = document.createElement("p");
  count.className = "vh";
  count.setAttribute("role", "status");
  // The field itself is not moved: it would lose the focus while someone types.
  input.after(list, count);
  for (const [name, value] of Object.entries({
    role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
  })) input.setAttribute(name, value);

  let timer = 0;
  let latest = 0;
  let active = -1;
  let settled = input.value;
  const options = () => [...list.querySelectorAll("[role=option]")];

  // Once an id is chosen, a late answer does not open the list again.
  const drop = () => {
    latest += 1;
    clearTimeout(timer);
  };

  const open = (yes) => {
    list.hidden = !yes;
    input.setAttribute("aria-expanded", String(yes));
    if (!yes) mark(-1);
  };

  const mark = (index) => {
    active = index;
    options().forEach((option, position) => option.setAttribute("aria-selected", String(position === index)));
    const option = options()[index];
    if (option) {
      input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  };

  const optionOf = ({ dag_id: id, is_paused: paused }, index) => {
    const option = document.createElement("li");
    option.id = `dag-option-${index}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.dataset.value = id;
    const name = document.createElement("bdi");
    name.textContent = id;
    option.append(name);
    if (paused) {
      const note = document.createElement("span");
      note.className = "muted";
      note.textContent = "paused";
      option.append(" ", note);
    }
    return option;
  };

  const noteOf = (text) => {
    const note = document.createElement("li");
    note.className = "note";
    note.setAttribute("role", "presentation");
    note.textContent = text;
    return note;
  };

  const show = ({ items, more }) => {
    list.replaceChildren(...items.map(optionOf));
    const text = items.length
      ? (more ? `First ${items.length}; type more to narrow the list` : "")
      : "No matching Dag that you can clear";
    if (text) list.append(noteOf(text));
    count.textContent = text || `${items.length} ${items.length === 1 ? "Dag" : "Dags"}`;
    active = -1;
    input.removeAttribute("aria-activedescendant");
    open(document.activeElement === input);
    if (items.some((item) => item.dag_id === input.value.trim())) settle();
  };

  // A chosen Dag id is not a search term: the list shows the other Dags too.
  const search = async () => {
    const mine = ++latest;
    const q = input.value === settled ? "" : input.value.trim();
    try {
      const response = await fetch(`${form.dataset.dags}?${new URLSearchParams({ q })}`);
      if (mine === latest && response.ok) show(await response.json());
    } catch {
      // No network: the id can still be typed, and the live answers show the error.
    }
  };

  // The rest of the page reacts when a Dag is chosen, not to every letter.
  const settle = () => {
    if (settled === input.value) return;
    settled = input.value;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const choose = (option) => {
    drop();
    input.value = option.dataset.value;
    open(false);
    settle();
  };

  const step = (by) => {
    const last = options().length - 1;
    if (last < 0) return;
    drop();
    if (active < 0) mark(by > 0 ? 0 : last);
    else mark(active + by > last ? 0 : active + by < 0 ? last : active + by);
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, DELAY);
  });
  input.addEventListener("change", () => {
    settled = input.value;
  });
  input.addEventListener("click", () => {
    if (list.hidden) search();
  });
  input.addEventListener("blur", () => {
    drop();
    open(false);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) search();
      else step(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && !list.hidden && active >= 0) {
      event.preventDefault();
      choose(options()[active]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      drop();
      open(false);
    }
  });
  // Before the field loses its focus to the list.
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    const option = event.target.closest("[role=option]");
    if (option) choose(option);
  });
})();
