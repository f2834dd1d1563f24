"use strict";
// The bar of a plan's page: the unmet requirements, and how long the plan is valid.
(() => {
  const dock = document.querySelector("[data-expires]");
  if (!dock) return;
  const numbers = new Intl.NumberFormat("en-US");
  const button = dock.querySelector("button[form]");
  const form = button?.form;
  const write = (element, text) => {
    if (element.textContent.trim() !== text) element.textContent = text;
  };

  // The unmet requirements, each with its text and its field.

  const boxes = form?.id === "confirm" ? [...document.querySelectorAll('input[name="acknowledge"][form="confirm"]')] : [];
  const typed = form?.elements.confirm_dag_id;
  const reason = form?.querySelector('[name="reason"][aria-required]');
  const left = dock.querySelector("[data-left]");

  // A plan does not clear what its reader has just unticked.
  const unpreviewed = () => window.safeClear.unticked?.size > 0
    && (document.querySelector("#without [data-without] button") ?? document.getElementById("rows-title"));

  const missing = () => {
    const found = [];
    const without = unpreviewed();
    if (without) found.push({ what: "Preview without the unticked rows", field: without });
    const open = boxes.filter((box) => !box.checked);
    if (open.length) {
      const findings = open.length === 1 ? "finding" : "findings";
      found.push({ what: `Acknowledge ${numbers.format(open.length)} ${findings}`, field: open[0] });
    }
    if (reason && !reason.value.trim()) found.push({ what: "Enter a reason", field: reason });
    if (typed && typed.value.trim() !== typed.dataset.expected) found.push({ what: "Type the Dag id", field: typed });
    return found;
  };

  const check = () => {
    if (!form || form.hasAttribute("data-sent")) return;
    const found = missing();
    write(left, found.map(({ what }) => what).join(" · "));
    button.setAttribute("aria-disabled", String(found.length > 0));
    button.toggleAttribute("data-lacks", found.length > 0);
  };

  // Open the details that hide a field.
  const show = (field) => {
    for (let fold = field.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    field.focus({ preventScroll: true });
    field.scrollIntoView({ block: "center" });
  };

  const send = (event) => {
    const [first] = missing();
    if (!first) return;
    event.preventDefault();
    event.stopPropagation(); // before the page takes it as sent
    check();
    show(first.field);
  };

  if (form) {
    form.addEventListener("submit", send);
    for (const field of [...boxes, reason, typed]) {
      field?.addEventListener("input", check);
      field?.addEventListener("change", check);
    }
    // The browser may have restored the fields.
    window.addEventListener("pageshow", check);
    document.addEventListener("safe-clear:unticked", check);
    check();
  }
  document.querySelector("[data-select]")?.addEventListener("focus", ({ target }) => target.select());

  // Count down how long the plan is valid. After that the page offers a new preview instead.

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
    left.remove();
    button.remove();
    dock.querySelector("[data-change]").remove();
    if (hadFocus) again.focus();
  };

  const tick = () => {
    if (form.hasAttribute("data-sent")) return;
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
  document.addEventListener("visibilitychange", tick);
})();
