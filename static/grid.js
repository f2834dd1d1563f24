"use strict";
// The grid: one tab stop, arrows move, a line below reads the cell out, zooming replaces it in place.
(() => {
  const NARROW = 640;
  const PAGE = 10;
  const OWN = ["grid", "from", "to", "open", "first_row", "first_column"];
  let table;
  let current;
  let column = 0; // kept on the way through the head of a group, which spans all columns
  let latest = 0;
  let loading = 0;
  let shown = new URL(location.href); // what the grid shows, which on a narrow screen is not in the address

  const view = () => document.getElementById("grid");
  const textOf = (element) => element.textContent.replace(/\s+/g, " ").trim();

  // The cells of a line by column; what spans several stands in each of them.
  const cellsOf = (row) => [...row.cells].flatMap((cell) => Array(cell.colSpan).fill(cell));
  const place = (cell) => [cell.parentElement.rowIndex, cellsOf(cell.parentElement).indexOf(cell)];
  const columnOf = (index) => cellsOf(table.querySelector(".times"))[index];
  const runOf = (column) => (column?.getAttribute("aria-label") ?? "").split(", ").reverse().join(" · ");

  const sentence = (cell) => {
    if (cell.matches("thead th")) return cell.getAttribute("aria-label") ?? textOf(cell);
    const row = cell.parentElement.cells[0];
    const name = row.dataset.name === "fold" ? textOf(row) : row.dataset.name ?? textOf(row);
    if (cell === row) {
      const total = row.parentElement.querySelector(".sum");
      return [name, total && textOf(total)].filter(Boolean).join(" · ");
    }
    if (cell.classList.contains("sum")) return `${name} · ${textOf(cell) || "not in the plan"}`;
    const words = document.getElementById(cell.dataset.words ?? cell.getAttribute("aria-labelledby") ?? "");
    const what = words?.textContent ?? "no task instance";
    return `${runOf(columnOf(place(cell)[1]))} · ${name} · ${what}`;
  };

  const read = (cell) => {
    const line = view().querySelector("[data-readout]");
    const text = sentence(cell);
    if (line.textContent !== text) line.textContent = text;
  };

  // A screen reader reads the whole sentence when the keyboard reaches a cell.
  const name = (cell) => {
    if (!cell.matches("td:not(.sum)")) return;
    const text = sentence(cell);
    cell.dataset.words ??= cell.getAttribute("aria-labelledby") ?? "";
    cell.removeAttribute("aria-labelledby");
    cell.setAttribute("aria-label", text);
  };

  const setCurrent = (cell, focus) => {
    current?.setAttribute("tabindex", "-1");
    current = cell;
    if (!cell.closest(".group")) column = place(cell)[1];
    cell.setAttribute("tabindex", "0");
    if (!focus) return;
    name(cell);
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  const moveDown = (rows) => {
    const lines = [...table.rows];
    const next = Math.min(lines.length - 1, Math.max(0, current.parentElement.rowIndex + rows));
    const cells = cellsOf(lines[next]);
    return cells[Math.min(cells.length - 1, column)];
  };

  const moveAside = (columns) => {
    const cells = [...current.parentElement.cells];
    return cells[Math.min(cells.length - 1, Math.max(0, cells.indexOf(current) + columns))];
  };

  const KEYS = {
    ArrowRight: () => moveAside(1),
    ArrowLeft: () => moveAside(-1),
    ArrowDown: () => moveDown(1),
    ArrowUp: () => moveDown(-1),
    PageDown: () => moveDown(PAGE),
    PageUp: () => moveDown(-PAGE),
    Home: (event) => (event.ctrlKey ? table.rows[0].cells[0] : current.parentElement.cells[0]),
    End: (event) => (event.ctrlKey ? table.rows[table.rows.length - 1] : current.parentElement).lastElementChild,
  };

  const filterHref = (cell) => {
    const base = new URL(`${view().dataset.page}${location.search}`, location.href);
    for (const name of ["task", "task_id", "run", "run_id", "map_index", "run_from", "run_to", "state", "effect", "why", "offset"]) base.searchParams.delete(name);
    const row = cell.parentElement.cells[0];
    const ofColumn = columnOf(place(cell)[1])?.dataset.filter;
    const isInPlan = row.querySelector("a[data-filters]") !== null;
    if (!ofColumn || (!isInPlan && !row.closest(".runs"))) return null;
    for (const [name, value] of new URLSearchParams(ofColumn)) base.searchParams.set(name, value);
    if (isInPlan) base.searchParams.set("task_id", row.dataset.name);
    base.hash = "task-instances";
    return base.href;
  };

  const enter = (cell) => {
    const link = cell.querySelector("a");
    if (link) {
      link.click();
      return true;
    }
    const href = cell.matches("td:not(.sum)") && window.safeClear.showRows ? filterHref(cell) : null;
    if (href) window.safeClear.showRows(href);
    return Boolean(href);
  };

  const load = async (href, keep) => {
    const old = view();
    const here = new URL(`${old.dataset.page}${new URL(href, location.href).search}`, location.href);
    const mine = (latest += 1);
    loading += 1;
    old.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`${old.dataset.url}${here.search}`, { signal: AbortSignal.timeout(30_000) });
      if (!answer.ok || answer.redirected) throw new Error(`HTTP ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== latest) return;
      const top = old.getBoundingClientRect().top;
      old.replaceWith(page.getElementById("grid"));
      shown = here;
      if (keep) history.replaceState(history.state, "", here);
      start();
      if (keep) {
        scrollBy(0, view().getBoundingClientRect().top - top);
        if (table) setCurrent(current, true);
      }
    } catch {
      if (mine !== latest) return;
      old.removeAttribute("aria-busy");
      if (!keep) return;
      if (!window.safeClear.unticked?.size) location.assign(here);
      else view().querySelector("[data-readout]").textContent = "Could not load the grid. It is unchanged; try again.";
    } finally {
      loading -= 1;
    }
  };

  // The head can only stay in sight where the grid does not scroll by itself.
  const fit = () => {
    const box = table?.parentElement;
    if (!box) return;
    box.classList.remove("fits");
    box.classList.toggle("fits", box.scrollWidth <= box.clientWidth);
  };

  const start = () => {
    table = view()?.querySelector("table.grid");
    if (!table) return;
    current = null;
    // One tab stop: the links in the grid are followed with Enter on their cell.
    table.querySelectorAll("a").forEach((link) => link.setAttribute("tabindex", "-1"));
    table.parentElement.removeAttribute("tabindex");
    for (const cell of table.querySelectorAll("th, td")) cell.setAttribute("tabindex", "-1");
    fit();
    setCurrent(table.querySelector("tr.hit td[class]:not(.untouched, .sum)") ?? table.rows[0].cells[0], false);
    name(current);
  };

  document.addEventListener("keydown", (event) => {
    if (!table || !table.contains(event.target) || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && event.target.matches("th, td")) {
      if (enter(event.target)) event.preventDefault();
      return;
    }
    const next = KEYS[event.key]?.(event);
    if (!next) return;
    event.preventDefault();
    setCurrent(next, true);
  });
  window.addEventListener("resize", fit);
  document.addEventListener("mouseover", (event) => {
    const cell = table?.contains(event.target) && event.target.closest("th, td");
    if (cell) read(cell);
  });
  document.addEventListener("focusin", (event) => {
    const cell = table?.contains(event.target) && event.target.closest("th, td");
    if (cell && cell === event.target) read(cell);
  });
  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const link = event.target.closest("#grid a[data-zoom]");
    if (link) {
      event.preventDefault();
      load(link.href, true);
      return;
    }
    const cell = table?.contains(event.target) && event.target.closest("td");
    if (!cell || event.target.closest("a")) return;
    setCurrent(cell, true);
    enter(cell);
  });
  // The links of the grid name what the table shows, which has changed.
  document.addEventListener("safe-clear:query", () => {
    const now = new URL(location.href).searchParams;
    if (!view()) return;
    for (const link of view().querySelectorAll("a[data-zoom]")) {
      const href = new URL(link.href);
      for (const name of [...href.searchParams.keys()]) if (!OWN.includes(name)) href.searchParams.delete(name);
      for (const [name, value] of now) if (!OWN.includes(name)) href.searchParams.append(name, value);
      link.href = href;
    }
  });
  // On a receipt: read again while something that was cleared has yet to finish.
  const RENEW = 10_000;
  const asShown = () => {
    const here = new URL(location.href);
    for (const name of OWN) {
      here.searchParams.delete(name);
      for (const value of shown.searchParams.getAll(name)) here.searchParams.append(name, value);
    }
    return here;
  };
  const renew = async (signal) => {
    if (signal.aborted) return;
    if (!document.hidden && !loading && !view().contains(document.activeElement)) await load(asShown(), false);
    if (!signal.aborted && view().hasAttribute("data-moving")) setTimeout(renew, RENEW, signal);
  };

  window.safeClear.onPage((signal) => {
    latest += 1; // an answer about another plan is not shown in this one
    table = null;
    if (!view()) return;
    shown = new URL(location.href);
    start();
    if (view().hasAttribute("data-moving")) setTimeout(renew, RENEW, signal);
    const asked = new URL(location.href).searchParams;
    const byDay = view().querySelector('.levels a[href*="grid=day"]:not([aria-current])');
    if (table && innerWidth < NARROW && byDay && !asked.has("grid") && !asked.has("from")) load(byDay.href, false);
  });
})();
