"use strict";
// On every page: where the focus starts, forms that are sent once, who goes on with a plan, links into Airflow.
// Read before the page is: no form can be sent before this knows of it, however slow the network is.
(() => {
  // A form that begins or resumes a plan leaves its id for the next page of this tab, and that page alone: only
  // where somebody has just confirmed does a page send the batches that follow by itself.
  const DRIVES = "safe-clear:drives";
  const memory = (use) => {
    try {
      return use(sessionStorage);
    } catch {
      window.safeClear.forgets = true; // storage is switched off: each batch has to be asked for
      return null;
    }
  };
  window.safeClear = {};
  window.safeClear.drives = memory((storage) => {
    const plan = storage.getItem(DRIVES);
    storage.removeItem(DRIVES);
    return plan;
  });

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
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.hasAttribute("data-sent")) {
      event.preventDefault();
      return;
    }
    if (form.dataset.drives) memory((storage) => storage.setItem(DRIVES, form.dataset.drives));
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

  document.addEventListener("DOMContentLoaded", focusStart);
})();
