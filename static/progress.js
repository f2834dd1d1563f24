"use strict";
// Follows the cleared task instances while they run again, and changes only what differs.
(() => {
  const section = document.getElementById("progress");
  if (!section || section.hasAttribute("data-done")) return;
  const bar = section.querySelector(".bar");
  const legend = section.querySelector(".legend");
  const items = section.querySelector("[data-items]").content;
  const trouble = section.querySelector("[data-trouble]");
  const spoken = section.querySelector("[data-spoken]");
  const order = [...items.children].map((item) => item.dataset.state);
  const shortest = 3_000;
  const longest = 15_000;
  const smallestShare = 0.6;
  const { number } = window.safeClear;
  let pause = shortest;
  let shown = "";

  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const itemFor = (state) => legend.querySelector(`[data-state="${CSS.escape(state)}"]`);

  const newItem = (state) => {
    const known = items.querySelector(`[data-state="${CSS.escape(state)}"]`) ?? items.lastElementChild;
    const item = known.cloneNode(true);
    if (item.dataset.state !== state) {
      item.dataset.state = state;
      item.lastElementChild.lastChild.data = ` ${state}`;
    }
    return item;
  };

  const drawLegend = (counts) => {
    for (const item of [...legend.children]) if (!counts.has(item.dataset.state)) item.remove();
    let after = null;
    for (const [state, count] of counts) {
      const item = itemFor(state) ?? newItem(state);
      put(item.querySelector("[data-count]"), number(count));
      const place = after ? after.nextElementSibling : legend.firstElementChild;
      if (place !== item) legend.insertBefore(item, place);
      after = item;
    }
  };

  const drawBar = (counts) => {
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const widths = [...counts.values()].map((count) => Math.max((100 * count) / total, smallestShare));
    const scale = 100 / widths.reduce((sum, width) => sum + width, 0);
    let x = 0;
    const rects = [...counts.keys()].map((state, index) => {
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const swatch = itemFor(state).querySelector(".swatch");
      rect.setAttribute("class", [...swatch.classList].find((name) => name.startsWith("state-")));
      rect.setAttribute("x", `${x}%`);
      rect.setAttribute("width", `${widths[index] * scale}%`);
      rect.setAttribute("height", "100%");
      x += widths[index] * scale;
      return rect;
    });
    bar.replaceChildren(...rects);
  };

  const draw = (progress) => {
    const checked = new Date(progress.checked_at);
    const time = section.querySelector("[data-checked]");
    time.dateTime = checked.toISOString();
    put(time, `${checked.toISOString().slice(11, 19)} UTC`);
    put(trouble, "");
    trouble.hidden = true;

    const rank = (state) => (order.includes(state) ? order.indexOf(state) : order.length);
    const counts = new Map(progress.by_state
      .map(([state, count]) => [state ?? "none", count])
      .filter(([, count]) => count > 0)
      .sort(([one], [other]) => rank(one) - rank(other)));
    const now = JSON.stringify([...counts]);
    if (now === shown) return false;
    const first = shown === "";
    shown = now;
    drawLegend(counts);
    drawBar(counts);
    if (!first) put(spoken, [...legend.children].map((item) => item.textContent.trim()).join(", "));
    return true;
  };

  const finish = () => {
    put(section.querySelector("[data-say]"), "all finished");
    section.querySelector("[data-refresh]")?.remove();
  };

  // Returns null when the page must be loaded instead: it shows the login or the error.
  const ask = async () => {
    const answer = await fetch(section.dataset.url, {
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(10_000),
    });
    if (answer.status >= 400 && answer.status < 500) return null;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.json();
  };

  const follow = async () => {
    if (!document.hidden) {
      try {
        const progress = await ask();
        if (!progress?.by_state) {
          location.replace(section.dataset.page); // or someone resumes or undoes the clear
          return;
        }
        pause = draw(progress) ? shortest : Math.min(pause * 1.3, longest);
        if (progress.finished) {
          finish();
          if (progress.foreseen?.otherwise) location.replace(section.dataset.page); // the page says what
          return;
        }
      } catch {
        put(trouble, "Can’t reach the server, so these numbers may be out of date. Trying again.");
        trouble.hidden = false;
        pause = Math.min(pause * 1.5, longest);
      }
    }
    setTimeout(follow, pause);
  };

  setTimeout(follow, pause);
})();
