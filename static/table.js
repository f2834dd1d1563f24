"use strict";
// The table of task instances: filters, sorts and pages in place, and remembers unticked rows.
(() => {
  const section = () => document.getElementById("task-instances");
  const unticked = new Map(); // "row|task|run" + value: its hidden field
  const kept = () => `safe-clear:unticked:${section().dataset.page}`;
  window.safeClear.unticked = unticked; // a plan is not cleared while it has some
  let latest = 0;

  // Unticked rows stay unticked when the reader leaves the page and comes back.
  const keep = () => window.safeClear.session((storage) => {
    if (unticked.size) storage.setItem(kept(), JSON.stringify([...unticked]));
    else storage.removeItem(kept());
  });
  const remember = () => {
    if (!document.getElementById("without")) return;
    const stored = window.safeClear.session((storage) => storage.getItem(kept())) ?? "[]";
    for (const [key, field] of JSON.parse(stored)) unticked.set(key, field);
  };

  const nameOf = (box) => box.name.replace("keep_", "");
  const valueOf = (box) => box.closest(".option").querySelector('input[type="hidden"]').value;
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
      .map(([name, count]) => window.safeClear.count(count, nouns[name]))
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
      fresh.inert = document.body.hasAttribute("data-previewing");
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
      if (focus && !unticked.size) location.assign(here);
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

  const filterHref = (form) => {
    const query = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    return `?${query}`;
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("#task-instances .filters")) {
      event.preventDefault();
      clearTimeout(typing);
      load(filterHref(form), { focus: "#rows-title" });
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

  // The table follows what is typed into its filters, and what is chosen there.
  const FILTER_DELAY = 400;
  let typing = 0;
  const followFilters = () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      if (!section()) return;
      // What is on its way, such as another order, comes first.
      if (section().getAttribute("aria-busy") === "true") followFilters();
      else load(filterHref(section().querySelector(".filters")));
    }, FILTER_DELAY);
  };
  document.addEventListener("input", ({ target }) => {
    if (target.closest?.("#task-instances .filters")) followFilters();
  });

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
    if (!section()) return;
    for (const box of boxes()) if (!box.checked) unticked.set(keyOf(box), { name: nameOf(box), value: valueOf(box) });
    keep();
    show();
  });
  window.safeClear.onPage(() => {
    latest += 1; // an answer about another plan is not shown in this one
    unticked.clear();
    if (!section()) return;
    remember();
    restore();
  });
})();
