// Light or dark, as chosen by the person and kept in this browser; else as the system says.
"use strict";

(() => {
  const KEY = "theme";
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem(KEY) || "";
    } catch {
      return ""; // storage is switched off: the system's colours
    }
  }

  function show(theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
    }
  }

  show(stored());

  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-themes]")) group.hidden = false;
    show(stored());
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    try {
      localStorage.setItem(KEY, button.dataset.themeChoice);
    } catch {
      // Not kept then, but shown for this page.
    }
    show(button.dataset.themeChoice);
    // Curves are drawn on a canvas and must be drawn again.
    document.dispatchEvent(new CustomEvent("themechange"));
  });
})();
