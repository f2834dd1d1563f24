"use strict";
// On every page: where the focus starts, forms that are sent once, links into Airflow.
// Read before the page is: no form can be sent before this knows of it, however slow the network is.
(() => {
  window.safeClear = {};

  // Runs a script's set-up on this page, and again on each page that replaces it; the signal ends with the page.
  const setUps = [];
  let page = new AbortController();
  window.safeClear.onPage = (setUp) => {
    setUps.push(setUp);
    setUp(page.signal);
  };
  window.safeClear.turn = (put) => {
    page.abort();
    page = new AbortController();
    put();
    for (const setUp of setUps) setUp(page.signal);
  };

  // Whether another page fits the scripts of this one; after an upgrade it does not.
  const scriptOf = (other) => other.querySelector("head script[src]")?.getAttribute("src");
  window.safeClear.fits = (other) => scriptOf(other) === scriptOf(document);

  // Numbers and plurals, as the server writes them.
  const numbers = new Intl.NumberFormat("en-US");
  window.safeClear.number = (value) => numbers.format(value);
  window.safeClear.count = (value, noun) => `${numbers.format(value)} ${noun}${value === 1 ? "" : "s"}`;

  // Uses the storage of this tab; returns ``otherwise`` if storage is switched off.
  window.safeClear.session = (use, otherwise = null) => {
    try {
      return use(sessionStorage);
    } catch {
      return otherwise;
    }
  };
  window.safeClear.REASON_KEY = "safe-clear:reason"; // the reason on the page of a plan, for the page of its sensors

  const focusStart = () => {
    if (location.hash || document.activeElement !== document.body) return;
    const start = document.querySelector("[data-focus]");
    if (start) start.focus({ preventScroll: !start.matches(".summary") });
  };

  const buttonsOf = (form) => [...form.elements].filter((element) => element.type === "submit");

  const setBusy = (form, busy) => {
    form.toggleAttribute("data-sent", busy);
    for (const button of buttonsOf(form)) {
      const label = button.querySelector("span") ?? button;
      button.dataset.label ??= label.textContent;
      label.textContent = busy && button.dataset.busy ? button.dataset.busy : button.dataset.label;
      button.setAttribute("aria-disabled", String(busy));
    }
    if (!busy) document.dispatchEvent(new Event("safe-clear:free"));
  };

  window.safeClear.setBusy = setBusy;

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.hasAttribute("data-sent")) {
      event.preventDefault();
      return;
    }
    setBusy(form, true);
  });

  // A page that comes back from the back-forward cache may be sent again.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("form[data-sent]").forEach((form) => setBusy(form, false));
  });

  // The frame's sandbox lets it neither navigate the page around it nor open a window, but a link
  // in that page, which has the same origin, may be followed from here.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || window.parent === window) return;
    try {
      const outer = window.parent.document;
      const twin = outer.createElement("a");
      twin.href = link.href;
      twin.hidden = true;
      outer.body.append(twin);
      event.preventDefault();
      const { ctrlKey, metaKey, shiftKey } = event;
      const options = { bubbles: true, cancelable: true, view: window.parent, ctrlKey, metaKey, shiftKey };
      twin.dispatchEvent(new window.parent.MouseEvent("click", options));
      twin.remove();
    } catch {
      // framed by another origin: the link stays a plain link
    }
  });

  // How much of the page the bar at its bottom covers: what has the focus is scrolled clear of it.
  const measured = new ResizeObserver(([{ target }]) => {
    const covered = getComputedStyle(target).position === "sticky" ? target.offsetHeight : 0;
    document.documentElement.style.setProperty("--dock", `${covered}px`);
  });
  const measureDock = () => {
    const dock = document.querySelector(".dock");
    measured.disconnect();
    if (dock) measured.observe(dock);
  };

  // As Airflow's own shortcut opens its dialog, this one leads to the button of the next step; it presses nothing.
  const isTyping = (element) => element?.matches?.("textarea, select, input:not([type=checkbox], [type=radio])");
  document.addEventListener("keydown", (event) => {
    const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
    if (key !== "C" || !shiftKey || ctrlKey || metaKey || altKey || isTyping(event.target)) return;
    const next = document.querySelector(".dock .btn.go:not([hidden])");
    if (!next) return;
    event.preventDefault();
    next.focus();
  });

  document.addEventListener("DOMContentLoaded", focusStart);
  document.addEventListener("DOMContentLoaded", () => window.safeClear.onPage(measureDock));
})();
