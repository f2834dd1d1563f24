"use strict";
// Buttons that copy a text. Without HTTPS, browsers have only the old interface.
(() => {
  const copied = async (text, button) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      if (button.nextElementSibling?.matches("input[readonly]")) button.nextElementSibling.remove();
      const field = document.createElement("input");
      field.value = text;
      field.readOnly = true;
      field.className = "in";
      field.setAttribute("aria-label", "Text to copy");
      button.after(field);
      field.select();
      if (!document.execCommand("copy")) return false; // the text stays selected
      field.remove();
      return true;
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const label = button.querySelector("span");
    button.dataset.label ??= label.textContent;
    if (await copied(button.dataset.copy, button)) {
      label.textContent = "Copied";
      button.focus();
    } else label.textContent = "Press Ctrl+C";
    setTimeout(() => { label.textContent = button.dataset.label; }, 2_000);
  });
})();
