"use strict";
// The table of task instances: filters, sorts and pages in place, and remembers unticked rows.
(() => {
  const section = () => document.getElementById("task-instances");
  if (!section()) return;
  const unticked = new Map(); // "row|task|run" + value: its hidden field
  const KEPT = `safe-clear:unticked:${section().dataset.page}`;
  window.safeClear.unticked = unticked; // a plan is not cleared while it has some
  let latest = 0;

  // Unticked rows stay unticked when the reader leaves the page and comes back.
  const memory = (use) => {
    try {
      return use(sessionStorage);
    } catch {
      return null; // storage is switched off
    }
  };
  const keep = () => memory((storage) => {
    if (unticked.size) storage.setItem(KEPT, JSON.stringify([...unticked]));
    else storage.removeItem(KEPT);
  });
  const remember = () => {
    if (!document.getElementById("without")) return;
    for (const [key, field] of JSON.parse(memory((storage) => storage.getItem(KEPT)) ?? "[]")) unticked.set(key, field);
  };

  const nameOf = (box) => box.name.replace("keep_", "");
  const valueOf = (box) => box.closest("[data-value]").dataset.value;
  const keyOf = (box) => `${nameOf(box)} ${valueOf(box)}`;
  const boxes = () => [...section().querySelectorAll('input[type="checkbox"][name^="keep_"]')];

  // An unticked row that is not on this page is sent as a hidden field without its checkbox.
  const carry = () => {
    const form = document.getElementById("without");
    if (!form) return;
    form.querySelectorAll("[data-carried]").forEach((field) => field.remove());
    const shown = new Set(boxes().map(keyOf));
    for (const [key, { name, value }] of unticked) {
      if (shown.has(key)) continue;
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name, value });
      field.dataset.carried = "";
      form.append(field);
    }
  };

  const words = () => {
    const counts = { row: 0, task: 0, run: 0 };
    for (const { name } of unticked.values()) counts[name] += 1;
    const nouns = { row: "task instance", task: "task", run: "run" };
    return Object.entries(counts)
      .filter(([, count]) => count)
      .map(([name, count]) => `${count.toLocaleString("en-US")} ${nouns[name]}${count === 1 ? "" : "s"}`)
      .join(", ");
  };

  const show = () => {
    const bar = section().querySelector("[data-without]");
    if (!bar) return;
    const text = words();
    bar.classList.toggle("waits", !text);
    const said = bar.querySelector("[data-unticked]");
    const wanted = text ? `Unticked: ${text}` : "Untick anything you want to leave alone";
    if (said.textContent !== wanted) said.textContent = wanted;
    const button = bar.querySelector("button");
    button.setAttribute("aria-disabled", String(!text));
    for (const body of section().querySelectorAll("tbody")) {
      const run = body.querySelector('input[name="keep_run"]');
      if (run) body.classList.toggle("out", !run.checked);
    }
    carry();
    document.dispatchEvent(new CustomEvent("safe-clear:unticked"));
  };

  const restore = () => {
    for (const box of boxes()) if (unticked.has(keyOf(box))) box.checked = false;
    show();
  };

  const trouble = (text) => {
    let line = section().querySelector("[data-trouble]");
    if (!line) {
      line = document.createElement("p");
      line.className = "trouble";
      line.dataset.trouble = "";
      line.setAttribute("role", "alert");
      section().prepend(line);
    }
    line.textContent = text;
  };

  const filled = () => new Map([...section().querySelectorAll(".filters [name]")].map((field) => [field.name, field.value]));

  // Text typed into a filter while the table loads is kept.
  const keepTyped = (fresh, before, typed) => {
    for (const [name, value] of typed) {
      const field = fresh.querySelector(`.filters [name="${name}"]`);
      if (field && before.get(name) !== value) field.value = value;
    }
  };

  const load = async (href, { focus } = {}) => {
    const here = new URL(`${section().dataset.page}${new URL(href, location.href).search}`, location.href);
    const mine = (latest += 1);
    const old = section();
    const before = filled();
    old.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`${old.dataset.url}${here.search}`, { signal: AbortSignal.timeout(20_000) });
      if (!answer.ok || answer.redirected) throw new Error(`HTTP ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("task-instances");
      if (mine !== latest) return;
      const { name: typing, selectionStart } = old.querySelector(".filters :focus") || {};
      keepTyped(fresh, before, filled());
      old.replaceWith(fresh);
      history.replaceState(history.state, "", here);
      restore();
      document.dispatchEvent(new CustomEvent("safe-clear:query"));
      const again = typing && fresh.querySelector(`.filters [name="${typing}"]`);
      if (again) {
        again.focus();
        if (selectionStart != null) again.setSelectionRange(selectionStart, selectionStart);
      } else if (focus) fresh.querySelector(focus)?.focus();
      fresh.querySelector("[data-found]")?.setAttribute("role", "status");
    } catch {
      if (mine !== latest) return;
      old.removeAttribute("aria-busy");
      if (!unticked.size) location.assign(here);
      else trouble("Could not load these rows. The table is unchanged; try again.");
    }
  };

  // The grid filters the table by the same way.
  window.safeClear.showRows = (href) =>
    load(href, { focus: "#rows-title" }).then(() => section().scrollIntoView({ block: "start" }));

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#task-instances :is(a[data-rows], .pager a), a[data-filters]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (link.matches("[data-filters]")) window.safeClear.showRows(link.href);
    else load(link.href, { focus: link.dataset.rows || "#rows-title" });
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("#task-instances .filters")) {
      event.preventDefault();
      const query = new URLSearchParams(new FormData(form));
      for (const [name, value] of [...query]) if (!value) query.delete(name);
      load(`?${query}`, { focus: "#rows-title" });
    }
    if (form.id === "without") {
      if (!unticked.size) {
        event.preventDefault();
        event.stopPropagation();
        return;
      }
      const reason = document.getElementById("reason");
      if (reason) form.querySelector('[name="reason"]').value = reason.value;
    }
  }, true);

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!box.matches('#task-instances input[name^="keep_"]')) return;
    if (box.checked) unticked.delete(keyOf(box));
    else unticked.set(keyOf(box), { name: nameOf(box), value: valueOf(box) });
    keep();
    show();
  });

  // Ticks that the browser restored after going back.
  window.addEventListener("pageshow", () => {
    for (const box of boxes()) if (!box.checked) unticked.set(keyOf(box), { name: nameOf(box), value: valueOf(box) });
    keep();
    show();
  });
  remember();
  restore();
})();
