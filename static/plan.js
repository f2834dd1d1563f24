"use strict";
// The bar of a plan's page: its button is always the next step, and it says how long the plan is valid.
(() => {
  const { number, count } = window.safeClear;
  const write = (element, text) => {
    if (element && element.textContent.trim() !== text.trim()) element.textContent = text;
  };

  // On a small screen the bar shows its requirements only after a press of the button.
  const unfold = (dock, isOpen) => {
    dock.classList.toggle("unfolded", isOpen);
    dock.querySelector(".unfold")?.setAttribute("aria-expanded", String(isOpen));
  };

  // Open the details that hide a field.
  const show = (field) => {
    for (let fold = field.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    const dock = field.closest(".plan-dock");
    if (dock) unfold(dock, true);
    field.focus({ preventScroll: true });
    field.scrollIntoView({ block: "nearest" });
  };


  // How long the plan is valid. After that the page offers a new preview instead.
  const countDown = (dock, button, signal) => {
    const again = dock.querySelector("[data-again]");
    if (!button || !again) return;
    const validity = dock.querySelector("[data-validity]");
    const loaded = performance.now();
    const remaining = Date.parse(dock.dataset.expires) - Date.parse(dock.dataset.now);
    const [soon, counted] = [5, 120];

    const expire = () => {
      clearInterval(timer);
      validity.classList.add("warn");
      write(validity, "This plan has expired. Preview again to see the current state.");
      const hadFocus = document.activeElement === button;
      again.hidden = false;
      dock.querySelector("[data-left]").remove();
      // The card of a request has a second one.
      for (const one of document.querySelectorAll(`button[form="${button.form.id}"]`)) one.remove();
      dock.querySelector("[data-change]").remove();
      if (hadFocus) again.focus();
    };

    const tick = () => {
      if (button.form?.hasAttribute("data-sent")) return;
      const minutes = (remaining - (performance.now() - loaded)) / 60_000;
      if (minutes <= 0) {
        expire();
        return;
      }
      if (minutes > counted) return;
      validity.classList.toggle("warn", minutes <= soon);
      write(validity, `Valid for ${Math.max(1, Math.floor(minutes))} min (until ${dock.dataset.until})`);
    };

    const timer = setInterval(tick, 10_000);
    signal.addEventListener("abort", () => clearInterval(timer));
    document.addEventListener("visibilitychange", tick, { signal });
  };

  window.safeClear.onPage((signal) => {
    const dock = document.querySelector(".plan-dock");
    if (!dock) return;
    const button = dock.querySelector("[data-primary]");
    const form = button?.form;
    const label = button?.querySelector("span");
    const rest = button?.querySelector("[data-rest]");
    const asIs = { label: label?.textContent, rest: rest?.textContent };
    const boxes = form?.id === "confirm" ? [...dock.querySelectorAll('input[name="acknowledge"]')] : [];
    const typed = form?.elements.confirm_dag_id;
    const reason = form?.querySelector('[name="reason"][aria-required]');
    const left = dock.querySelector("[data-left]");
    const listen = (target, name, then) => target?.addEventListener(name, then, { signal });

    // The remaining steps before the plan can be confirmed, each with its action. Unticked rows come first:
    // a plan must not clear rows that the user has just unticked.
    const missing = () => {
      const found = [];
      const unticked = window.safeClear.unticked?.size ?? 0;
      const without = document.getElementById("without");
      if (unticked && without) {
        found.push({ step: `Preview without ${number(unticked)}`, what: "Preview without the unticked rows", act: () => without.requestSubmit() });
      }
      const open = boxes.filter((box) => !box.checked);
      if (open.length) {
        found.push({ step: `Acknowledge ${number(open.length)}`, what: `Acknowledge ${count(open.length, "finding")}`, act: () => show(open[0]) });
      }
      if (reason && !reason.value.trim()) found.push({ step: "Give a reason", what: "Enter a reason", act: () => show(reason) });
      if (typed && typed.value.trim() !== typed.dataset.expected) found.push({ step: "Type the Dag id", what: "Type the Dag id", act: () => show(typed) });
      return found;
    };

    const isPreviewing = () => document.body.hasAttribute("data-previewing");

    const check = () => {
      if (!form || form.hasAttribute("data-sent")) return;
      const found = missing();
      const [first] = found;
      write(left, found.map(({ what }) => what).join(" · "));
      write(label, isPreviewing() ? "Previewing…" : first?.step ?? asIs.label);
      if (rest) rest.textContent = first || isPreviewing() ? "" : asIs.rest;
      button.setAttribute("aria-disabled", String(isPreviewing()));
      button.toggleAttribute("data-lacks", Boolean(first));
    };

    if (form) {
      // Before the page takes it as sent.
      listen(form, "submit", (event) => {
        const [first] = missing();
        if (!first && !isPreviewing()) return;
        event.preventDefault();
        event.stopPropagation();
        check();
        if (!isPreviewing()) first.act();
      });
      for (const field of [...boxes, reason, typed]) {
        listen(field, "input", check);
        listen(field, "change", check);
      }
      // The browser may have restored the fields.
      listen(window, "pageshow", check);
      for (const name of ["safe-clear:unticked", "safe-clear:previewing", "safe-clear:shown", "safe-clear:free"]) listen(document, name, check);
      listen(document, "keydown", (event) => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat || event.defaultPrevented) return;
        // A user who writes into another form, such as the reason for declining, does not mean this button.
        const other = event.target.closest?.("form");
        if (other && other !== form && !other.matches("[data-preview]")) return;
        event.preventDefault();
        button.click();
      });
      check();
    }
    listen(document.querySelector("[data-select]"), "focus", ({ target }) => target.select());

    // A link to a finding opens it.
    listen(dock, "click", (event) => {
      const found = event.target.closest(".acks a")?.hash;
      const details = found && document.getElementById(decodeURIComponent(found.slice(1)))?.querySelector("details");
      if (details) details.open = true;
    });

    if (dock.querySelector(".errors")) unfold(dock, true);
    listen(dock.querySelector(".unfold"), "click", () => unfold(dock, !dock.classList.contains("unfolded")));
    countDown(dock, button, signal);
  });
})();
