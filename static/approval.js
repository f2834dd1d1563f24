"use strict";
// Follows a request for approval: the page is loaded again once somebody has decided.
(() => {
  const card = document.querySelector("[data-request]");
  if (!card) return;
  const { request, page } = card.dataset;
  const trouble = card.querySelector("[data-trouble]");
  const between = 4_000;
  const longest = 30_000;
  let timer;
  const isSent = () => document.querySelector("form[data-sent]") !== null;

  const say = (text) => {
    if (trouble.textContent !== text) trouble.textContent = text;
    trouble.hidden = text === "";
  };

  const isDecided = async () => {
    const answer = await fetch(request, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
    // If the user is logged out, or may no longer see the plan, the page says so.
    if (answer.status >= 400 && answer.status < 500) return true;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return (await answer.json()).status !== "waiting";
  };

  const follow = async (pause) => {
    clearTimeout(timer);
    let next = between;
    if (!document.hidden && !isSent()) {
      try {
        const decided = await isDecided();
        // A form that was sent in the meantime has its own answer.
        if (decided && !isSent()) return void location.replace(page);
        say("");
      } catch {
        say("Can’t reach the server, so a decision would not show here. Trying again.");
        next = Math.min(pause * 1.5, longest);
      }
    }
    timer = setTimeout(follow, next, next);
  };

  timer = setTimeout(follow, between, between);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) follow(between);
  });
})();
