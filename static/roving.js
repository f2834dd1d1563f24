"use strict";
// Long tables and lists are one tab stop each: the arrow keys move between their rows, and within a row.
(() => {
  const ITEMS = "a[href], button, summary, input:not([type=hidden])";
  const LISTS = "[data-roving]";
  const rowOf = (item) => item.closest("tr, li");
  const isShown = (item) => !item.disabled && item.checkVisibility();
  const itemsOf = (list) => [...list.querySelectorAll(ITEMS)].filter(isShown);

  // The rows by their items, those without one left out.
  const rowsOf = (list) => {
    const rows = new Map();
    for (const item of itemsOf(list)) rows.set(rowOf(item), [...(rows.get(rowOf(item)) ?? []), item]);
    return [...rows.values()];
  };

  const setCurrent = (list, item) => {
    for (const other of list.querySelectorAll(ITEMS)) other.tabIndex = other === item ? 0 : -1;
  };

  const start = () => {
    for (const list of document.querySelectorAll(LISTS)) {
      const items = itemsOf(list);
      if (items.length) setCurrent(list, items.find((item) => item === document.activeElement) ?? items[0]);
    }
  };

  const target = (list, item, key) => {
    const rows = rowsOf(list);
    const row = rows.findIndex((items) => items.includes(item));
    const column = rows[row].indexOf(item);
    const inRow = (index) => {
      const items = rows[Math.min(rows.length - 1, Math.max(0, index))];
      return items[Math.min(items.length - 1, column)];
    };
    return {
      ArrowDown: () => inRow(row + 1),
      ArrowUp: () => inRow(row - 1),
      ArrowRight: () => rows[row][column + 1],
      ArrowLeft: () => rows[row][column - 1],
      Home: () => rows[0][0],
      End: () => rows.at(-1)[0],
    }[key]?.();
  };

  document.addEventListener("keydown", (event) => {
    const list = event.target.closest?.(LISTS);
    if (!list || !event.target.matches(ITEMS) || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = target(list, event.target, event.key);
    if (!next) return;
    event.preventDefault();
    setCurrent(list, next);
    next.focus();
  });
  document.addEventListener("focusin", ({ target: item }) => {
    const list = item.closest?.(LISTS);
    if (list && item.matches(ITEMS)) setCurrent(list, item);
  });
  for (const name of ["safe-clear:query", "safe-clear:shown", "answered"]) document.addEventListener(name, start);
  document.addEventListener("toggle", start, { capture: true });
  window.safeClear.onPage(start);
})();
