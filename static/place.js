"use strict";
// Within Airflow's UI the address of this frame is lost when the page around it is loaded again. So the tab
// remembers the last page in the frame, and opens it again after a reload.
(() => {
  const KEPT = "safe-clear:place";
  const { session } = window.safeClear;

  const around = () => {
    try {
      const { location: outer, performance: clock } = window.parent;
      return { path: outer.pathname, since: clock.timeOrigin, type: clock.getEntriesByType("navigation")[0]?.type };
    } catch {
      return null; // framed by another origin
    }
  };

  const place = window.parent === window ? null : around();
  if (!place) return;
  const kept = session((storage) => JSON.parse(storage.getItem(KEPT) ?? "null"));
  const isReloaded = kept && kept.path === place.path && kept.since !== place.since && place.type === "reload";
  if (isReloaded && kept.href !== location.href) {
    window.safeClear.isLeaving = true;
    session((storage) => storage.setItem(KEPT, JSON.stringify({ ...kept, since: place.since })));
    location.replace(kept.href);
    return;
  }
  const keep = () => session((storage) => storage.setItem(KEPT, JSON.stringify({ path: place.path, since: place.since, href: location.href })));
  // Airflow's own layout leaves a narrow window nothing to read in.
  const NARROW = 700;
  document.addEventListener("DOMContentLoaded", () => {
    const offer = document.querySelector("[data-alone]");
    offer.hidden = window.parent.innerWidth >= NARROW;
    offer.querySelector("a").addEventListener("click", ({ target }) => { target.href = location.href; }, { capture: true });
  });

  keep();
  window.addEventListener("pagehide", keep); // scripts change the address of a page
  window.addEventListener("pageshow", keep);
})();
