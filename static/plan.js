"use strict";
// Counts down how long the plan may be confirmed; after that the page offers a new preview instead.
(() => {
  const dock = document.querySelector("[data-expires]");
  const button = dock?.querySelector("button[form]");
  if (!button) return;
  const validity = dock.querySelector("[data-validity]");
  const until = validity.textContent.trim().replace(/^.*?, /, "");
  const loaded = performance.now();
  const left = Date.parse(dock.dataset.expires) - Date.parse(dock.dataset.now);
  const soon = 5;

  const say = (text) => {
    if (validity.textContent.trim() !== text) validity.textContent = text;
  };

  const expire = () => {
    clearInterval(timer);
    validity.classList.add("warn");
    say("This plan has expired. Preview again to see how things stand now.");
    const again = dock.querySelector("[data-again]");
    const hadFocus = document.activeElement === button;
    again.hidden = false;
    button.remove();
    dock.querySelector("[data-change]").remove();
    if (hadFocus) again.focus();
  };

  const tick = () => {
    if (button.form?.hasAttribute("data-sent")) return;
    const minutes = (left - (performance.now() - loaded)) / 60_000;
    if (minutes <= 0) {
      expire();
      return;
    }
    validity.classList.toggle("warn", minutes <= soon);
    say(`Good for ${Math.max(1, Math.floor(minutes))} min, ${until}`);
  };

  const timer = setInterval(tick, 10_000);
  document.addEventListener("visibilitychange", tick);
})();
