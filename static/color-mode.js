"use strict";
// Runs before the first paint: takes over the colour mode of the Airflow page around the frame.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isMode = (mode) => mode === "light" || mode === "dark";

  const airflow = (() => {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null; // framed by another origin
    }
  })();

  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is switched off
    }
  };

  const wanted = () => {
    const framed = airflow && ["light", "dark"].find((mode) => airflow.classList.contains(mode));
    if (framed) return framed;
    const chosen = stored();
    if (isMode(chosen)) return chosen;
    return system.matches ? "dark" : "light";
  };

  const apply = () => {
    const mode = wanted();
    root.classList.toggle("dark", mode === "dark");
    root.classList.toggle("light", mode === "light");
  };

  apply();
  if (airflow) new MutationObserver(apply).observe(airflow, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("storage", apply);
  system.addEventListener("change", apply);
})();
