// What every page needs of a script: menus that close, meanings that open, texts that
// copy, polls that rest.
"use strict";

(() => {
  // A menu closes on Escape, with the focus back on its button, and on a click elsewhere.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  // The meaning of a term: a mouse shows the title by itself, keyboard and finger do not.
  const meaning = document.createElement("div");
  meaning.className = "meaning";
  meaning.id = "meaning";
  meaning.role = "tooltip";
  meaning.hidden = true;
  document.body.append(meaning);

  function explain(term) {
    for (const other of document.querySelectorAll("[aria-describedby=meaning]")) {
      other.removeAttribute("aria-describedby");
    }
    meaning.hidden = !term;
    if (!term) return;
    meaning.textContent = term.title;
    term.setAttribute("aria-describedby", "meaning");
    const at = term.getBoundingClientRect();
    const room = document.documentElement.clientWidth - meaning.offsetWidth - 8;
    meaning.style.left = `${Math.max(8, Math.min(at.left, room)) + scrollX}px`;
    meaning.style.top = `${at.bottom + 6 + scrollY}px`;
  }
  document.addEventListener("focusin", (event) => explain(event.target.closest(".gloss[title]")));
  document.addEventListener("focusout", () => explain(null));
  document.addEventListener("click", (event) => {
    // Safari gives a term no focus when it is touched.
    const term = event.target.closest(".gloss[title]");
    if (term) explain(term);
    else if (!event.target.closest(".meaning")) explain(null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") explain(null);
  });

  // What asks again and again rests while nobody looks. (htmx's own filters need eval.)
  document.addEventListener("htmx:beforeRequest", (event) => {
    const trigger = event.detail.elt.getAttribute("hx-trigger") || "";
    if (document.hidden && trigger.startsWith("every ")) event.preventDefault();
  });

  // What a slider stands at.
  document.addEventListener("input", (event) => {
    const place = document.getElementById(event.target.dataset?.output ?? "");
    if (place) place.textContent = event.target.value;
  });

  // Copying works only over HTTPS or on the same machine; elsewhere the text is selected.
  function prepare(root) {
    for (const button of root.querySelectorAll("[data-copy] button")) button.hidden = false;
  }
  document.addEventListener("htmx:load", (event) => prepare(event.target));
  prepare(document);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy] button");
    if (!button) return;
    const field = button.closest("[data-copy]").querySelector("input");
    field.select();
    if (!navigator.clipboard) return;
    await navigator.clipboard.writeText(field.value);
    button.textContent = button.dataset.done;
  });
})();
